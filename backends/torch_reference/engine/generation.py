"""One request's answers as the event loop sees them; it must not step the model or shape responses."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from backends.torch_reference.engine.errors import EngineFailure
from backends.torch_reference.engine.sequence import Event, Failed, Finished, GrowingSequence, SequenceSpec
from backends.torch_reference.engine.worker import Worker


class Generation:
    """The answers of one request, from the queue to their last token."""

    def __init__(self, worker: Worker, specs: Sequence[SequenceSpec]) -> None:
        """Queue the answers; raises QueueFull when there is no room."""
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._sequences = [GrowingSequence(spec, self._deliver) for spec in specs]
        worker.submit(self._sequences)

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens until every answer is complete; raises EngineFailure when one fails."""
        left = len(self._sequences)
        while left:
            event = await self._queue.get()
            if isinstance(event, Failed):
                raise EngineFailure("the engine failed to generate an answer")
            yield event
            left -= isinstance(event, Finished)

    def cancel(self) -> None:
        """Give up what is not complete; harmless when all is."""
        self._worker.cancel(self._sequences)

    def _deliver(self, event: Event) -> None:
        """Take an event from the worker's thread."""
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, event)
        except RuntimeError:
            # The loop is closed: the process is ending and nobody listens.
            return
