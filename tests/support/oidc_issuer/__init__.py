"""A small OpenID issuer for tests: a process of its own with real keys, which signs what it is told to, right or wrong."""

from tests.support.oidc_issuer.process import Issuer, oidc_issuer

__all__ = ["Issuer", "oidc_issuer"]
