"""Puts a call's stages in order, and makes sure that whatever happens its leases are settled once and it is recorded once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence

import structlog

from gateway.contracts.backend import Replica
from gateway.contracts.call import Call, Ending
from gateway.contracts.plugin import CallTransform
from gateway.contracts.policy import AdmissionPolicy, RoutingPolicy
from gateway.dataplane.admission import Leases, admit
from gateway.dataplane.assigning import HEADER, Assigning, Told, place_in_arm
from gateway.dataplane.bookkeeping import Bookkeeping, Entry
from gateway.dataplane.copying import Copying
from gateway.dataplane.forwarder import Forwarder, log_level_number
from gateway.dataplane.mirroring import Mirroring
from gateway.dataplane.placement import place, prepare, preparing
from gateway.dataplane.relay import Client, relay
from gateway.errors import GatewayError, PolicyFailed, QueueTimeout, UpstreamError, UpstreamTimeout
from gateway.fleet.pool import Pool

log = structlog.get_logger("moegate.serving")


class Serving:
    """Serves calls with the policies of one runtime; `routing_of_models` has those of models that have their own list."""

    def __init__(  # noqa: PLR0913 - one for each thing that happens to a call
        self,
        *,
        transforms: Sequence[tuple[str, CallTransform]],
        admission: Sequence[tuple[str, AdmissionPolicy]],
        routing: Sequence[tuple[str, RoutingPolicy]],
        forwarder: Forwarder,
        books: Bookkeeping,
        routing_of_models: Mapping[str, Sequence[tuple[str, RoutingPolicy]]] | None = None,
        copying: Copying | None = None,
        mirroring: Mirroring | None = None,
        assigning: Assigning | None = None,
    ) -> None:
        self._transforms = tuple(transforms)
        self._admission = tuple(admission)
        self._routing = tuple(routing)
        self._routing_of_models = dict(routing_of_models or {})
        self._preparing = preparing(self._routing)
        self._preparing_of_models = {name: preparing(own) for name, own in self._routing_of_models.items()}
        self._forwarder = forwarder
        self._copying = copying
        self._mirroring = mirroring
        self._assigning = assigning
        self.books = books

    async def finish(self, seconds: float) -> None:
        """Wait for what ended calls have left to do, but for each kind of it no longer than `seconds`."""
        if self._copying is not None:
            await self._copying.stop()
        await self._forwarder.aborts.finish(seconds)
        await self.books.recording.flush(seconds)

    async def serve(self, call: Call, pool: Pool, client: Client) -> None:
        """Serve one call to its end. The client has its answer or its error when this returns."""
        entry, leases = Entry(self.books, call), Leases()
        client.before_last(entry.write)
        try:
            try:
                await self._run(call, pool, client, entry, leases)
            except GatewayError as error:
                await self._fail(call, client, entry, error)
            except Exception:
                log.exception("call crashed", call_id=call.call_id)
                await self._fail(call, client, entry, GatewayError("unexpected error"))
        except asyncio.CancelledError:
            entry.break_off()
            if not client.gone:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
        finally:
            client.release()
            # First of all, as it does not wait: what comes after may be broken off by a stop that waits no longer.
            entry.write()
            if entry.arm is not None and self._assigning is not None:
                self._assigning.tell_end(entry.arm, call, entry.outcome)
            try:
                await leases.settle(entry.outcome)
            finally:  # a cancellation that came meanwhile surfaces here
                self.books.recording.put(call, entry.outcome, entry.decision)

    async def _run(self, call: Call, pool: Pool, client: Client, entry: Entry, leases: Leases) -> None:
        outcome, decision = entry.outcome, entry.decision
        for name, transform in self._transforms:
            try:
                call = await transform.transform(call)
            except GatewayError:
                raise
            except Exception as error:
                raise PolicyFailed(f"call transform {name} crashed on {call.call_id}") from error
        try:
            await admit(self._admission, call, leases)
        finally:
            client.add_headers(leases.headers())
        outcome.admitted_seconds = time.monotonic() - call.received_at
        routing = self._routing_of_models.get(call.model.name, self._routing)
        prepares = self._preparing_of_models.get(call.model.name, self._preparing)
        if prepares:
            await prepare(prepares, call)
        if self._copying is not None:
            self._copying.make_room(pool)
        arm = self._assigning.assign(call, pool) if self._assigning is not None else None
        ranked: Iterable[Replica]
        if arm is None:
            ranked = place(routing, call, pool, decision)
        else:
            entry.arm = arm
            client.add_headers([(HEADER, arm.label.encode())])
            ranked = place_in_arm(arm, routing, call, pool, decision)
        outcome.placed_seconds = time.monotonic() - call.received_at
        if self._mirroring is not None:
            self._mirroring.offer(call, pool)
        entry.answer = answer = await self._forwarder.forward(call, pool, ranked, outcome)
        try:
            outcome.first_byte_seconds = time.monotonic() - call.received_at
            outcome.attribution = tuple(each.record for each in answer.attribution if each.record)
            decision.chosen = answer.member.replica.name
            outcome.status = 200
            await relay(call, answer, client if arm is None else Told(client, arm, call), outcome)
        except UpstreamError as error:
            answer.failed(error)
            raise
        finally:
            answer.close()

    async def _fail(self, call: Call, client: Client, entry: Entry, error: GatewayError) -> None:
        outcome = entry.outcome
        if entry.answer is not None:
            entry.answer.note(outcome)
        outcome.ending = Ending.TIMED_OUT if isinstance(error, (QueueTimeout, UpstreamTimeout)) else Ending.FAILED
        outcome.error_code = error.code
        log.log(
            log_level_number(error),
            "call failed",
            call_id=call.call_id,
            model=call.model.name,
            error=error.code,
            reason=error.message,
            mid_stream=client.started,
            exc_info=error.__cause__ if isinstance(error, PolicyFailed) else None,
        )
        await client.fail(error, outcome)
