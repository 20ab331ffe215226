"""What the source `kubernetes` is told: whose endpoints, and how to ask for them; data, and the checks of it."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from gateway.errors import ConfigError

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

SERVICE_LABEL = "kubernetes.io/service-name"
"""Every slice that Kubernetes makes for a service carries it."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

Seconds = Annotated[float, Meta(ge=1, le=3_600)]


class KubernetesSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service, or all that a label selector finds.

    Attributes:
        service: the name of one; or else `selector`, as `kubectl --selector` takes it.
        namespace: ours where it is not said: what stands in the file `namespace` beside the token.
        port: name or number among the service's ports; not needed where there is but one.
        path: what every URL ends in.
        address_type: a service of both families has slices of each.
        server: the API server's URL; http for one on this machine only, such as `kubectl proxy`.
        token_file: read for every request, as the cluster replaces what is in it; without such a file none is sent.
        ca_file: certificates that vouch for the API server; null for the system's.
        watch_seconds: how long one watch may last; then another one begins where it ended.
        answer_seconds: how long any other answer may take.
    """

    service: str | None = None
    selector: str | None = None
    namespace: str | None = None
    port: str | Annotated[int, Meta(ge=1, le=65_535)] | None = None
    scheme: Literal["http", "https"] = "http"
    path: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~/-]*)?$")] = ""
    address_type: Literal["IPv4", "IPv6"] = "IPv4"
    server: str = "https://kubernetes.default.svc"
    token_file: Path | None = field(default_factory=lambda: Path(ACCOUNT, "token"))
    ca_file: Path | None = field(default_factory=lambda: Path(ACCOUNT, "ca.crt"))
    watch_seconds: Seconds = 240.0
    answer_seconds: Seconds = 10.0

    @property
    def label_selector(self) -> str:
        """What the API server is asked for."""
        return self.selector or f"{SERVICE_LABEL}={self.service}"


def check(settings: KubernetesSettings) -> None:
    """Refuse settings that cannot work.

    Raises:
        ConfigError: with every problem.
    """
    found = []
    if (settings.service is None) == (settings.selector is None):
        found.append("exactly one of `service` and `selector` must say whose endpoints are wanted")
    for name, value in (("service", settings.service), ("namespace", settings.namespace)):
        if value is not None and not _LABEL.fullmatch(value):
            found.append(f"{name}: not a name that Kubernetes knows")
    if not _trustworthy(settings.server):
        found.append("server: must be an https URL without a path; http is for one on this machine only")
    if settings.namespace is None and settings.token_file is None:
        found.append("namespace: missing; without a token file there is none beside it that could say")
    if found:
        raise ConfigError(*found)


def _trustworthy(url: str) -> bool:
    """Nobody on the way can read the token: https, or this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.query or parts.fragment or parts.path.strip("/"):
        return False
    if parts.scheme == "https":
        return True
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    return parts.scheme == "http" and local
