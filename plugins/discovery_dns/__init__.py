"""Registers the source of targets `dns`: addresses or services that name servers tell of, for as long as they say."""

from __future__ import annotations

from collections.abc import Iterable

from gateway import BuildContext, Extension, TargetSource, hookimpl
from plugins.discovery_dns.settings import DnsSettings, check


def _build(settings: DnsSettings, _: BuildContext) -> TargetSource:
    check(settings)
    # Here, as its library takes memory that a gateway which does not look for anything need not have.
    from plugins.discovery_dns.source import DnsSource  # noqa: PLC0415

    return DnsSource(settings)


@hookimpl
def moegate_target_sources() -> Iterable[Extension[TargetSource]]:
    """Register the source."""
    return [Extension("dns", DnsSettings, _build)]
