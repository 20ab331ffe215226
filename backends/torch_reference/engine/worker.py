"""The one thread that owns the model and steps the running sequences in turn; it must not know about HTTP.

Sequences are stepped one at a time, never as a batch: what an answer says then cannot depend on what else runs.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from backends.torch_reference.engine.errors import QueueFull, Unavailable
from backends.torch_reference.engine.metrics import Metrics
from backends.torch_reference.engine.sequence import Failed, GrowingSequence, LanguageModel

logger = logging.getLogger(__name__)


class Worker:
    """Queue, slots and the loop between them."""

    def __init__(
        self,
        model: LanguageModel,
        metrics: Metrics,
        *,
        max_concurrent: int,
        max_waiting: int,
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare the thread; `on_death` is called on it if it ends by a fault of its own."""
        self.max_concurrent = max_concurrent
        self.max_waiting = max_waiting
        self.on_death = on_death
        self.died = False
        self._model = model
        self._metrics = metrics
        self._changed = threading.Condition()
        self._waiting: deque[GrowingSequence] = deque()
        self._running: list[GrowingSequence] = []
        self._stopping = False
        # A daemon: a forward pass that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="model-worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread still serves."""
        return self._thread.is_alive() and not self._stopping

    @property
    def running(self) -> int:
        """Sequences that hold a slot."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences in the queue."""
        return len(self._waiting)

    def submit(self, sequences: Sequence[GrowingSequence]) -> None:
        """Queue the answers of one request: all of them, or none when there is no room."""
        with self._changed:
            if self._stopping:
                raise Unavailable("the engine is shutting down")
            held = len(self._running) + len(self._waiting)
            if held + len(sequences) > self.max_concurrent + self.max_waiting:
                raise QueueFull("the engine's queue is full, try again later")
            self._waiting.extend(sequences)
            self._changed.notify()

    def cancel(self, sequences: Iterable[GrowingSequence]) -> None:
        """Give these answers up: queued ones at once, running ones before their next step."""
        with self._changed:
            for sequence in sequences:
                sequence.cancelled = True
            self._waiting = deque([sequence for sequence in self._waiting if not sequence.cancelled])
            self._changed.notify()

    def stop(self, timeout_seconds: float) -> bool:
        """Give up what runs and end the thread; return whether it ended in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._admit():
                for sequence in tuple(self._running):
                    self._step(sequence)
        except BaseException:
            # Whatever it was, the engine must be seen to be dead rather than hang its callers.
            logger.exception("the worker thread died")
            self.died = True
            self.on_death()
        finally:
            with self._changed:
                self._stopping = True
                left = [*self._running, *self._waiting]
                self._running.clear()
                self._waiting.clear()
            for sequence in left:
                sequence.deliver(Failed(sequence.spec.index))

    def _admit(self) -> bool:
        """Wait for work and fill the free slots; return False when the worker is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._waiting or self._running)
            while self._waiting and len(self._running) < self.max_concurrent:
                self._running.append(self._waiting.popleft())
            return not self._stopping

    def _step(self, sequence: GrowingSequence) -> None:
        if sequence.cancelled:
            self._retire(sequence)
            return
        generated, absorbed = sequence.generated, sequence.absorbed
        began = time.perf_counter()
        try:
            events, done = sequence.step(self._model)
        except Exception:
            # One answer's fault is its own; the others go on.
            logger.exception("a step failed")
            self._retire(sequence)
            sequence.deliver(Failed(sequence.spec.index))
            return
        elapsed = time.perf_counter() - began
        self._metrics.count_step(
            elapsed, prompt_tokens=sequence.absorbed - absorbed, generated_tokens=sequence.generated - generated
        )
        if done:
            # Before the last event is out: who has an answer must not see it running still.
            self._retire(sequence)
        for event in events:
            sequence.deliver(event)

    def _retire(self, sequence: GrowingSequence) -> None:
        with self._changed:
            self._running.remove(sequence)
        sequence.close()
