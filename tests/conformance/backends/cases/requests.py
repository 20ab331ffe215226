"""What an engine gets of a request: the gateway's own ids and defaults, and nothing that only the gateway may choose."""

from __future__ import annotations

from tests.conformance.backends.asking import CHAT, SUM, Json, faulty
from tests.conformance.backends.case import Need, case
from tests.conformance.backends.target import Target

THEIRS = "chosen-by-a-client"
INTERNAL: Json = {
    "cache_salt": THEIRS,
    "rid": THEIRS,
    "request_id": THEIRS,
    "extra_key": THEIRS,
    "session_id": THEIRS,
    "kv_transfer_params": {"remote": THEIRS},
    "bootstrap_host": THEIRS,
    "vllm_xargs": {"x": THEIRS},
    "chat_template": THEIRS,
    "custom_logit_processor": THEIRS,
    "disaggregated_params": {"request_type": THEIRS},
    "priority": 424242,
    "bootstrap_room": 424242,
    "routed_dp_rank": 424242,
    "id_slot": 424242,
}
HEADERS = (
    "x-request-id",
    "x-vllm-priority",
    "x-data-parallel-rank",
    "x-session-id",
    "x-override-rid",
    "x-override-priority",
    "x-override-routed-dp-rank",
    "x-custom-labels",
    "x-smg-routing-key",
    "cookie",
)


@case("requests", Need.DOOR)
def fields_of_the_engines_inside_are_stripped(target: Target) -> None:
    for name, value in INTERNAL.items():
        answer = target.post(CHAT, {**target.body(), name: value})
        assert answer.status_code == 200, f"{name}: {answer.text}"
        seen = target.scripted.state()["last"]["body"]
        assert THEIRS not in seen, name
        assert "424242" not in seen, name


@case("requests", Need.DOOR)
def headers_of_the_engines_inside_are_stripped(target: Target) -> None:
    answer = target.post(CHAT, target.body(), **dict.fromkeys(HEADERS, THEIRS))
    assert answer.status_code == 200
    assert THEIRS not in str(target.sent_headers())
    assert target.clients.key not in str(target.sent_headers())


@case("requests", Need.DOOR)
def every_attempt_has_an_id_of_its_own(target: Target) -> None:
    seen = set()
    for _ in range(2):
        answer = target.post(CHAT, target.body())
        seen.add(target.sent_headers()["x-request-id"])
        assert answer.headers["x-moegate-call-id"] in target.sent_headers()["x-request-id"]
    assert len(seen) == 2


@case("requests", Need.DOOR)
def a_cache_salt_tells_tenants_apart_without_naming_them(target: Target) -> None:
    """The same for each call of a tenant's; engines that have none get none."""
    salts = set()
    for _ in range(2):
        target.chat()
        salts.add(target.sent().get("cache_salt"))
    assert len(salts) == 1
    (salt,) = salts
    # KTransformers takes one and loses it on the way to its scheduler, so it is not sent any.
    assert (salt is not None) is (target.engine in ("vllm", "sglang", "tensorrt_llm"))
    assert salt is None or ("demo" not in salt and 16 <= len(salt) <= 256)


@case("requests", Need.DOOR)
def the_engine_gets_the_name_that_it_knows(target: Target) -> None:
    target.chat()
    assert target.sent()["model"] not in (target.model, *target.aliases)


@case("requests", Need.DOOR)
def an_unknown_model_never_reaches_an_engine(target: Target) -> None:
    answer = target.post(CHAT, target.body(model=f"{target.model}-too"))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert target.scripted.state()["seen"] == 0


@case("requests", Need.DOOR)
def defaults_of_the_model_are_sent_where_the_client_is_silent(target: Target) -> None:
    silent = {"model": target.variants["defaults"], "messages": SUM}
    target.post(CHAT, silent)
    assert (target.sent()["temperature"], target.sent()["top_p"]) == (0.6, 0.95)
    target.post(CHAT, {**silent, "temperature": 0})
    assert (target.sent()["temperature"], target.sent()["top_p"]) == (0, 0.95)
    target.post(CHAT, {**silent, "temperature": None, "top_p": None})
    assert (target.sent()["temperature"], target.sent()["top_p"]) == (0.6, 0.95)


@case("requests", Need.DOOR)
def usage_is_always_asked_of_a_stream(target: Target) -> None:
    target.stream_bytes()
    assert target.sent()["stream_options"]["include_usage"] is True
    target.chat()
    assert "stream_options" not in target.sent()


@case("requests", Need.DOOR)
def a_call_goes_on_to_another_replica_with_another_id(target: Target) -> None:
    answer = target.post(CHAT, target.body(faulty(f"queue_full,only={target.engine}"), model=target.variants["pair"]))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-moegate-attempts"] == "2"
    assert answer.headers["x-moegate-replica"].startswith("spare")
    assert target.sent_headers()["x-request-id"].endswith("-1")
