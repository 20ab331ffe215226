"""Mirrors: copies of a share of calls for other engines, to warm and to watch them; their answers are thrown away."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from msgspec.structs import replace

from gateway.contracts.backend import UpstreamRequest
from gateway.contracts.call import Call
from gateway.contracts.metrics import Metric
from gateway.dataplane import sse
from gateway.dataplane.attempting import MAX_ERROR_BYTES, MAX_EVENT_BYTES, first_events
from gateway.dataplane.copying import Copying, Lane
from gateway.dataplane.mirror_counts import MirrorCounts, mirror_metrics
from gateway.fleet.pool import Member, Pool
from gateway.fleet.slots import Slot
from gateway.settings import MirrorSettings
from gateway.upstream import UpstreamResponse

_SPAN: Final = 2**64


class Mirror:
    """Where the copies of one model's calls go, and how many of them there are.

    Args:
        key: makes that nobody who can choose call ids can choose what is copied; the same over reloads.
    """

    def __init__(self, settings: MirrorSettings, pool: Pool, counts: MirrorCounts, key: bytes) -> None:
        self.settings = settings
        self.pool = pool
        self.counts = counts
        self.lane = Lane(settings)
        self._key = key
        self._below = int(settings.share * _SPAN)

    def takes(self, call_id: str) -> bool:
        """Whether this call is in the share."""
        digest = hashlib.blake2b(call_id.encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") < self._below

    def wants(self, member: Member) -> bool:
        """Whether this replica may get copies."""
        wanted = self.settings.replicas
        return not wanted or any(fnmatchcase(member.replica.name, pattern) for pattern in wanted)


class Mirroring:
    """The mirrors of one runtime, by the model whose calls they copy; the clock has monotonic seconds."""

    def __init__(
        self, copying: Copying, mirrors: Mapping[str, Mirror], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._copying = copying
        self._mirrors = dict(mirrors)
        self._clock = clock

    def offer(self, call: Call, pool: Pool) -> None:
        """Copy this call, which is about to be sent, if it is in the share and nothing stands against it."""
        mirror = self._mirrors.get(call.model.name)
        if mirror is None or not mirror.takes(call.call_id):
            return
        against = self._copying.objection(mirror.lane, call, pool)
        if against is not None:
            mirror.counts.dropped[against] += 1
            return
        self._copying.start(pool, _Mirrored(mirror, call, self._clock))

    def metrics(self) -> Iterable[Metric]:
        """What became of the copies; see `Metered`."""
        return mirror_metrics(
            {
                name: (mirror.counts, len(mirror.lane.copies), mirror.lane.held_bytes)
                for name, mirror in self._mirrors.items()
            }
        )


class _Mirrored:
    """One copy's errand: to be answered."""

    def __init__(self, mirror: Mirror, call: Call, clock: Callable[[], float]) -> None:
        self.lane, self.pool, self.wants = mirror.lane, mirror.pool, mirror.wants
        self.call = replace(call, model=mirror.pool.model)
        self.request_id = f"{call.call_id}-mirror"
        self._counts = mirror.counts
        self._clock = clock
        self._sent_at = 0.0

    def leaves(self, member: Member) -> None:  # noqa: ARG002 - whoever gets it
        self._counts.sent += 1
        self._sent_at = self._clock()

    async def read(self, slot: Slot, request: UpstreamRequest, response: UpstreamResponse) -> None:  # noqa: ARG002 - as sent
        """Without keeping any of it."""
        member = slot.member
        if response.status != 200:  # noqa: PLR2004 - the one status that an engine's answer has
            raise member.backend.read_error(response.status, await response.read(MAX_ERROR_BYTES))
        if self.call.stream:
            await first_events(member, response, sse.EventCutter(MAX_EVENT_BYTES))
            self._note_first(member)
        while await response.read_chunk():
            pass
        if not self.call.stream:
            self._note_first(member)

    def _note_first(self, member: Member) -> None:
        self._counts.first_event(member.replica.name).observe(self._clock() - self._sent_at)

    def never(self, why: str) -> None:
        self._counts.dropped[why] += 1

    def ended(self, how: str, *, gave_way: bool) -> None:  # noqa: ARG002 - the word tells
        self._counts.ended[how] += 1
