"""Asks name servers for one name again and again, as often as their answers expire; keeps nothing between two answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver

from gateway import Target, TargetListener
from plugins.discovery_dns.settings import DnsSettings, server_of

AT_ONCE = 8


class LookupFailed(Exception):
    """Nobody knows what the name stands for now; the message is for people."""


class NothingThere(LookupFailed):
    """The name servers know that there is nothing."""


class DnsSource:
    """One name."""

    def __init__(self, settings: DnsSettings) -> None:
        self._settings = settings

    async def run(self, listener: TargetListener) -> None:
        """Ask until cancelled; see `TargetSource.run`."""
        settings = self._settings
        # Made anew after a failure: the system's name servers may be others by then.
        lookup = Lookup(settings)
        while True:
            targets, seconds = await lookup.targets()
            listener.found(targets)
            await listener.pause(min(max(seconds, settings.least_seconds), settings.most_seconds))


class Lookup:
    """Looks one name up.

    Raises:
        LookupFailed: the system names no name server.
    """

    def __init__(self, settings: DnsSettings) -> None:
        self._settings = settings
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not settings.servers)
        except dns.resolver.NoResolverConfiguration:
            raise LookupFailed("the system names no name server") from None
        if settings.servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(*server_of(each)) for each in settings.servers]
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def targets(self) -> tuple[list[Target], float]:
        """All engines, and for how many seconds that holds.

        Raises:
            LookupFailed: nobody answers, or there is nothing.
        """
        settings = self._settings
        if settings.records == "srv":
            return await self._services()
        addresses, seconds = await self._ask(dns.name.from_text(settings.name), settings.records)
        return [self._target(str(each.address), settings.port or 0) for each in addresses], seconds

    async def _services(self) -> tuple[list[Target], float]:
        settings = self._settings
        records, seconds = await self._ask(dns.name.from_text(settings.name), "srv")
        services = [each for each in records if each.target != dns.name.root]  # a service that is not offered
        hosts = {each.target for each in services}
        if settings.scheme == "https":
            places = {host: [host.to_text(omit_final_dot=True)] for host in hosts}
        else:
            found = await asyncio.gather(*(self._addresses(host) for host in hosts))
            places = dict(zip(hosts, [addresses for addresses, _ in found], strict=True))
            seconds = min([seconds, *(each for addresses, each in found if addresses)])
        targets = [
            self._target(place, service.port, weight=weight, tier=service.priority)
            for service, weight in _weighted(services)
            for place in places[service.target]
        ]
        if not targets:
            raise NothingThere(f"{settings.name}: none of the hosts of its SRV records has an address")
        return targets, seconds

    async def _addresses(self, host: dns.name.Name) -> tuple[list[str], float]:
        """The addresses of a service's host; none if it is known to have none."""
        seconds = 0.0
        for kind in ("a", "aaaa"):
            try:
                found, seconds = await self._ask(host, kind)
            except NothingThere:
                continue
            return [str(each.address) for each in found], seconds
        return [], seconds

    async def _ask(self, name: dns.name.Name, kind: str) -> tuple[Sequence[Any], float]:
        """The records of a name, and how long they hold: as long as the shortest of the aliases that led to them."""
        shown = name.to_text(omit_final_dot=True)
        try:
            async with self._turn:
                answer = await self._resolver.resolve(
                    name, kind, lifetime=self._settings.answer_seconds, search=False, raise_on_no_answer=True
                )
        except dns.resolver.NXDOMAIN:
            raise NothingThere(f"{shown} does not exist (NXDOMAIN)") from None
        except dns.resolver.NoAnswer:
            raise NothingThere(f"{shown} has no {kind.upper()} records") from None
        except dns.resolver.NoNameservers:
            raise LookupFailed(f"{shown}: every name server failed (such as SERVFAIL)") from None
        except dns.exception.Timeout:
            raise LookupFailed(f"{shown}: no answer within {self._settings.answer_seconds:g} s") from None
        except (dns.exception.DNSException, OSError) as error:
            raise LookupFailed(f"{shown}: {type(error).__name__}") from error
        return list(answer), float(answer.chaining_result.minimum_ttl)

    def _target(self, place: str, port: int, *, weight: float = 1.0, tier: int = 0) -> Target:
        host = f"[{place}]" if ":" in place else place
        return Target(
            url=f"{self._settings.scheme}://{host}:{port}{self._settings.path}",
            weight=weight,
            tier=tier,
            labels={"dns": self._settings.name},
        )


def _weighted(services: Sequence[Any]) -> list[tuple[Any, float]]:
    """Each service with its weight; where all of a priority have 0, the weight says nothing (RFC 2782)."""
    found = []
    for _, group in groupby(sorted(services, key=lambda each: each.priority), key=lambda each: each.priority):
        members = list(group)
        says_nothing = not any(each.weight for each in members)
        found += [(each, 1.0 if says_nothing else float(each.weight)) for each in members]
    return found
