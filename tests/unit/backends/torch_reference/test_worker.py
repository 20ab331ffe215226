"""The worker's queue, slots and turns, with a scripted model in place of torch."""

import queue
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from backends.torch_reference.engine.errors import QueueFull, Unavailable
from backends.torch_reference.engine.metrics import Metrics
from backends.torch_reference.engine.sequence import (
    Event,
    Failed,
    Finished,
    GrowingSequence,
    SamplingParams,
    SequenceSpec,
    TokenAdded,
    TokenChoice,
    TokenScore,
)
from backends.torch_reference.engine.worker import Worker

END_ID = 0
# Prompt tokens that a scripted source takes at once.
PIECE = 60
PATIENCE_SECONDS = 10


class ScriptedModel:
    """Speaks its prompt, token by token, one step per permit."""

    def __init__(self) -> None:
        self.token_bytes = [b"", *[bytes([byte]) for byte in range(1, 256)]]
        self.permits = threading.Semaphore(0)
        self.free = False
        self.steps: list[int] = []
        self.fault: BaseException | None = None

    def open(self, spec: SequenceSpec) -> "ScriptedSource":
        return ScriptedSource(self, spec)

    def run_freely(self) -> None:
        self.free = True
        self.permits.release(1000)


class ScriptedSource:
    def __init__(self, model: ScriptedModel, spec: SequenceSpec) -> None:
        self.model = model
        self.spec = spec
        self.words = iter(spec.prompt_ids)
        self.left = len(spec.prompt_ids)

    def advance(self, forced_id: int | None) -> TokenChoice:
        if not self.model.free and not self.model.permits.acquire(timeout=PATIENCE_SECONDS):
            raise TimeoutError
        if self.model.fault is not None:
            raise self.model.fault
        self.model.steps.append(self.spec.index)
        return TokenChoice(next(self.words, END_ID) if forced_id is None else forced_id, None)

    def absorb(self) -> int:
        self.left = max(self.left - PIECE, 0)
        return self.left

    def prompt_scores(self) -> list[TokenScore | None]:
        return [None for _ in self.spec.prompt_ids]


def spec(text: str, index: int = 0, **changes: object) -> SequenceSpec:
    fields = {
        "index": index,
        "prompt_ids": tuple(text.encode()),
        "max_tokens": 100,
        "sampling": SamplingParams(),
        "end_ids": frozenset({END_ID}),
        "hidden_ids": frozenset(),
    }
    return SequenceSpec(**(fields | changes))


class Answer:
    """Collects one sequence's events."""

    def __init__(self, wanted: SequenceSpec) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.sequence = GrowingSequence(wanted, self.events.put)

    def wait(self) -> tuple[str, str]:
        """Return the text and how it ended."""
        text = ""
        while True:
            event = self.events.get(timeout=PATIENCE_SECONDS)
            if isinstance(event, TokenAdded):
                text += event.text
            elif isinstance(event, Finished):
                return text, event.reason
            elif isinstance(event, Failed):
                return text, "failed"


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        threading.Event().wait(0.005)


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def worker(model: ScriptedModel) -> Iterator[Worker]:
    built = Worker(model, Metrics(), max_concurrent=2, max_waiting=2)
    built.start()
    yield built
    model.run_freely()
    assert built.stop(PATIENCE_SECONDS)


def test_a_sequence_runs_to_its_end(model: ScriptedModel, worker: Worker) -> None:
    model.run_freely()
    answer = Answer(spec("hello"))
    worker.submit([answer.sequence])
    assert answer.wait() == ("hello", "stop")
    assert (worker.running, worker.waiting) == (0, 0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"max_tokens": 3}, ("hel", "length")),
        ({"max_tokens": 5}, ("hello", "length")),
        ({"max_tokens": 0}, ("", "length")),
        ({"stops": ("lo",)}, ("hel", "stop")),
        ({"stops": ("lox",)}, ("hello", "stop")),
        ({"stops": ("lox",), "max_tokens": 5}, ("hello", "length")),
        ({"last_ids": frozenset({ord("l")})}, ("hel", "stop")),
        ({"forced_ids": tuple(b"ab")}, ("abhello", "stop")),
        ({"forced_ids": (ord("a"), END_ID)}, ("ahello", "stop")),
        ({"end_ids": frozenset(), "max_tokens": 7}, ("hello", "length")),
        ({"hidden_ids": frozenset(b"l")}, ("heo", "stop")),
    ],
)
def test_what_ends_a_text(
    model: ScriptedModel, worker: Worker, changes: dict[str, object], expected: tuple[str, str]
) -> None:
    model.run_freely()
    answer = Answer(spec("hello", **changes))
    worker.submit([answer.sequence])
    assert answer.wait() == expected


def test_running_sequences_take_turns(model: ScriptedModel, worker: Worker) -> None:
    answers = [Answer(spec("abc", 0)), Answer(spec("abc", 1))]
    worker.submit([answer.sequence for answer in answers])
    model.run_freely()
    assert [answer.wait() for answer in answers] == [("abc", "stop")] * 2
    assert model.steps == [0, 1] * 4


def test_a_long_prompt_is_read_in_turns_too(model: ScriptedModel, worker: Worker) -> None:
    long, short = Answer(spec("a" * 150, 0, max_tokens=1)), Answer(spec("abc", 1))
    worker.submit([long.sequence, short.sequence])
    model.run_freely()
    assert long.wait() == ("a", "length")
    assert short.wait() == ("abc", "stop")
    # Two turns for reading before the first token, which the short one used.
    assert model.steps == [1, 1, 0, 1, 1]


def test_a_full_queue_refuses_and_keeps_nothing(model: ScriptedModel, worker: Worker) -> None:
    answers = [Answer(spec("a", index)) for index in range(4)]
    worker.submit([answer.sequence for answer in answers])
    eventually(lambda: worker.running == 2)
    assert worker.waiting == 2
    with pytest.raises(QueueFull):
        worker.submit([Answer(spec("b")).sequence])
    model.run_freely()
    assert [answer.wait() for answer in answers] == [("a", "stop")] * 4


def test_a_request_is_queued_whole_or_not_at_all(model: ScriptedModel, worker: Worker) -> None:
    worker.submit([Answer(spec("a", index)).sequence for index in range(3)])
    with pytest.raises(QueueFull):
        worker.submit([Answer(spec("b", index)).sequence for index in range(2)])
    assert worker.running + worker.waiting == 3


def test_a_cancelled_sequence_stops_before_its_next_token(model: ScriptedModel, worker: Worker) -> None:
    answer = Answer(spec("a" * 50))
    worker.submit([answer.sequence])
    model.permits.release()
    assert isinstance(answer.events.get(timeout=PATIENCE_SECONDS), TokenAdded)
    worker.cancel([answer.sequence])
    # At most the step that was under way.
    model.permits.release()
    eventually(lambda: worker.running == 0)
    assert len(model.steps) <= 2


def test_a_cancelled_waiting_sequence_leaves_the_queue_at_once(model: ScriptedModel, worker: Worker) -> None:
    answers = [Answer(spec("a", index)) for index in range(4)]
    worker.submit([answer.sequence for answer in answers])
    eventually(lambda: worker.running == 2)
    worker.cancel([answers[2].sequence])
    assert worker.waiting == 1
    model.run_freely()
    assert [answers[index].wait() for index in (0, 1, 3)] == [("a", "stop")] * 3
    assert answers[2].events.empty()


def test_a_fault_in_one_step_fails_that_answer_only(model: ScriptedModel, worker: Worker) -> None:
    model.fault = ArithmeticError("not finite")
    failing = Answer(spec("a"))
    worker.submit([failing.sequence])
    model.permits.release()
    assert failing.wait() == ("", "failed")
    model.fault = None
    model.run_freely()
    sound = Answer(spec("b"))
    worker.submit([sound.sequence])
    assert sound.wait() == ("b", "stop")
    assert worker.alive


def test_a_dead_worker_fails_what_it_held_and_takes_nothing_more(model: ScriptedModel) -> None:
    died = threading.Event()
    worker = Worker(model, Metrics(), max_concurrent=1, max_waiting=2, on_death=died.set)
    worker.start()
    model.fault = SystemExit()
    answers = [Answer(spec("a", index)) for index in range(2)]
    worker.submit([answer.sequence for answer in answers])
    model.permits.release()
    assert [answer.wait() for answer in answers] == [("", "failed")] * 2
    assert died.wait(PATIENCE_SECONDS)
    assert worker.died
    eventually(lambda: not worker.alive)
    with pytest.raises(Unavailable):
        worker.submit([Answer(spec("a")).sequence])


def test_stopping_fails_what_is_left(model: ScriptedModel) -> None:
    worker = Worker(model, Metrics(), max_concurrent=1, max_waiting=2)
    worker.start()
    answer = Answer(spec("a" * 50))
    worker.submit([answer.sequence])
    model.run_freely()
    assert worker.stop(PATIENCE_SECONDS)
    assert answer.wait()[1] in {"failed", "stop"}
    assert not worker.alive
    assert not worker.died
