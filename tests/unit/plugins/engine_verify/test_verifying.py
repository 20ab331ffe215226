"""Whole verifications, against small engines that differ in one way each."""

from __future__ import annotations

import httpx
import pytest

from gateway import Fact, FactName, Introspection, NativeContinuation, Operation, ReplicaAccess
from plugins.engine_verify.prompts import FIXED_SET, Prompt
from plugins.engine_verify.report import exit_status
from plugins.engine_verify.settings import Precision
from plugins.engine_verify.verifying import MOST_PARTINGS, Task, verify_model
from tests.unit.builders import CHECKPOINT
from tests.unit.plugins.engine_verify.small_engine import QuietBackend, SmallBackend, SmallEngine, access, client
from tests.unit.plugins.engine_verify.verification import ALL_SAME, TASK, verdicts, verified


async def test_the_same_engine_is_the_same() -> None:
    engine = SmallEngine()
    report = await verified(engine)
    found = report.of("candidate")
    assert verdicts(found) == ALL_SAME
    assert exit_status([report]) == 0
    assert found.figures.max_difference == 0
    assert found.figures.agreed == found.figures.tokens > 50
    assert found.figures.whole == found.figures.prompts
    # Deterministic, explicit and small: nothing is left to the engine's defaults.
    sent = [body for _, body in engine.asked if body]
    assert all(body["temperature"] == 0 and body["max_tokens"] <= 12 for body in sent if "max_tokens" in body)


async def test_other_weights_differ_in_scores_alone() -> None:
    found = (await verified(SmallEngine(drift=lambda number: 0.01 * (number % 3)))).of("candidate")
    assert verdicts(found) == {**ALL_SAME, "logprobs": "differs"}
    assert found.figures.max_difference == pytest.approx(0.02)


async def test_a_replica_that_parts_is_put_back_and_followed_on() -> None:
    prompt = Prompt(name="p", text="bcb")
    engine = SmallEngine(turn=6)
    async with client(reference=SmallEngine(), candidate=engine) as http:
        task = Task((prompt,), 24, precision=Precision.FLOAT32)
        report = await verify_model("kimi-k2", access("reference"), [access("candidate")], task, http)
    found = report.of("candidate")
    assert verdicts(found)["greedy"] == "differs"
    assert found.figures.shared == 3
    # Every place was compared until it had parted as often as is worth following.
    assert found.figures.tokens - found.figures.agreed == MOST_PARTINGS
    asked = [len(body["prompt"]) for path, body in engine.asked if path == "/completions" and body.get("logprobs")]
    assert asked == [3, 7, 8, 9]


async def test_another_template_is_found_and_nothing_else_is_blamed() -> None:
    found = (await verified(SmallEngine(template="~{}>"))).of("candidate")
    assert verdicts(found) == {**ALL_SAME, "template": "differs", "tools": "cannot tell"}
    assert "5 of 5 prompts; first 'hello', token 0" in str(found.findings)
    assert "its template differs, and so would these: 4 of 4 prompts" in str(found.findings)


async def test_tools_that_are_declared_otherwise_are_not_taken_for_a_template() -> None:
    class Declaring(SmallEngine):
        def encode(self, text: str) -> list[int]:
            return super().encode(text.replace('"function", "function"', '"function", "strict": false, "function"'))

    found = (await verified(Declaring())).of("candidate")
    assert verdicts(found) == {**ALL_SAME, "tools": "differs"}


async def test_another_tokenizer_is_found_and_the_weights_are_not_blamed() -> None:
    found = (await verified(SmallEngine(offset=1))).of("candidate")
    assert verdicts(found) == {**ALL_SAME, "tokenizer": "differs", "template": "cannot tell", "tools": "cannot tell"}
    assert "its tokenizer differs, and so would these: 5 of 5 prompts" in str(found.findings)


async def test_without_ids_counts_are_compared_and_answers_to_the_prompts_themselves() -> None:
    engine = SmallEngine(tells_ids=False)
    found = (await verified(engine, backend=SmallBackend([Operation.CHAT]))).of("candidate")
    assert verdicts(found) == {**ALL_SAME, "tokenizer": "cannot tell"}
    assert "number of tokens alone" in str(found.findings)
    assert {path for path, _ in engine.asked} == {"/models", "/chat"}
    blamed = (await verified(SmallEngine(tells_ids=False, template="~{}>"), backend=SmallBackend([Operation.CHAT]))).of(
        "candidate"
    )
    assert verdicts(blamed) == {
        "model": "same",
        "tokenizer": "cannot tell",
        "template": "differs",
        "tools": "cannot tell",
        "greedy": "cannot tell",
        "logprobs": "cannot tell",
    }
    assert "other tokens already" in str(blamed.findings)


async def test_ids_come_from_tokenize_where_answers_hold_none() -> None:
    engine = SmallEngine(tells_ids=False, offset=1)
    found = (await verified(engine)).of("candidate")
    assert verdicts(found)["tokenizer"] == "differs"
    assert "/tokenize" in {path for path, _ in engine.asked}


async def test_what_tokenize_says_is_not_believed_against_the_count() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tokenize":
            return httpx.Response(200, json={"tokens": [1]})
        return engine.handle(request)

    engine = SmallEngine(tells_ids=False)
    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
        report = await verify_model("kimi-k2", access("candidate"), [access("again")], TASK, http)
    assert "number of tokens alone" in str(report.of("again").findings)


async def test_an_engine_that_does_not_list_its_end_is_the_same() -> None:
    assert verdicts((await verified(SmallEngine(lists_end=False))).of("candidate")) == ALL_SAME


async def test_without_log_probabilities_it_says_so() -> None:
    report = await verified(SmallEngine(tells_logprobs=False))
    found = report.of("candidate")
    assert verdicts(found) == {**ALL_SAME, "greedy": "cannot tell", "logprobs": "cannot tell"}
    assert "the engine lists no log-probabilities" in str(found.findings)
    assert exit_status([report]) == 0


async def test_prompts_of_ids_that_are_refused_are_asked_as_prompts() -> None:
    engine = SmallEngine(refuses=lambda _, body: 400 if isinstance(body.get("prompt"), list) else None)
    assert verdicts((await verified(engine)).of("candidate")) == ALL_SAME


async def test_an_engine_in_trouble_is_asked_again() -> None:
    answers = iter([503, 503])
    engine = SmallEngine(refuses=lambda path, _: next(answers, None) if path == "/chat" else None)
    assert verdicts((await verified(engine)).of("candidate")) == ALL_SAME
    answers = iter([503, 503])
    engine = SmallEngine(refuses=lambda path, _: next(answers, None) if path == "/native" else None)
    await verified(engine, backend=NativeBackend([Operation.CHAT]))
    assert [path for path, _ in engine.asked].count("/native") == len(FIXED_SET) + 2


async def test_a_stranger_s_backend_needs_to_tell_nothing() -> None:
    found = (await verified(SmallEngine(), backend=QuietBackend())).of("candidate")
    assert verdicts(found) == {**ALL_SAME, "model": "cannot tell"}


class NativeBackend(SmallBackend):
    introspection = Introspection(
        models_path="/models",
        continues=NativeContinuation(
            path="/native", ids_field="input_ids", limit_field="params.most", fields={"params": {"temperature": 0}}
        ),
    )


async def test_an_engine_s_own_way_to_continue_ids_is_taken() -> None:
    engine = SmallEngine(tells_ids=False)
    found = (await verified(engine, backend=NativeBackend([Operation.CHAT]))).of("candidate")
    assert verdicts(found) == {**ALL_SAME, "tokenizer": "cannot tell"}
    native = [body for path, body in engine.asked if path == "/native"]
    assert len(native) == len(FIXED_SET)
    assert all(body["params"]["temperature"] == 0 for body in native)


async def test_an_engine_s_own_way_may_be_refused_too() -> None:
    engine = SmallEngine(tells_ids=False, refuses=lambda path, _: 400 if path == "/native" else None)
    found = (await verified(engine, backend=NativeBackend([Operation.CHAT]))).of("candidate")
    assert verdicts(found) == {**ALL_SAME, "tokenizer": "cannot tell"}


class TellingBackend(SmallBackend):
    introspection = Introspection(
        models_path="/models",
        answer_fields={"return_token_ids": True},
        facts=(Fact(FactName.PRECISION, "/about", "dtype"), Fact(FactName.VERSION, "/about", "v")),
    )


@pytest.mark.parametrize(("dtype", "judged"), [("float32", "float32"), ("bfloat16", "bfloat16"), (None, "bfloat16")])
async def test_the_tolerance_follows_what_both_tell(dtype: str | None, judged: str) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/about":
            told = "float32" if request.url.host == "reference" else dtype
            return httpx.Response(200, json={"dtype": told, "v": "1.2"})
        return SmallEngine().handle(request)

    def told(name: str) -> ReplicaAccess:
        return access(name, TellingBackend())

    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
        report = await verify_model("kimi-k2", told("reference"), [told("candidate")], Task(FIXED_SET, 4), http)
    found = report.of("candidate")
    assert found.judged_as == judged
    assert found.told["version"] == "1.2"


async def test_declared_weights_are_named() -> None:
    checkpoint = type(CHECKPOINT)(id="x", context_length=10, weight_format="AMXINT8")
    found = (await verified(SmallEngine(), checkpoint=checkpoint)).of("candidate")
    assert "its weights are said to be AMXINT8, the reference's nothing" in str(found.findings)


async def test_the_model_s_sampling_defaults_are_not_sent() -> None:
    engine = SmallEngine()
    await verified(engine)
    assert all("top_p" not in body for _, body in engine.asked)
