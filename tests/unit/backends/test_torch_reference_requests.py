from __future__ import annotations

import pytest

from backends.torch_reference.engine.protocol import ChatRequest, CompletionRequest
from backends.torch_reference.plugin import TorchReference
from gateway import Operation, Probe, ReplicaLoad, ReplicaState
from tests.unit.backends.asking import WEATHER, ask, prepared
from tests.unit.backends.looking import probe

ENGINE = TorchReference()


def test_it_gets_what_the_client_wrote() -> None:
    call = ask(tools=[WEATHER], temperature=0, top_k=5, seed=1, logprobs=True, stop=None, return_token_ids=True)
    assert prepared(ENGINE, call).body is call.body


@pytest.mark.parametrize(
    ("operation", "kind"), [(Operation.CHAT, ChatRequest), (Operation.COMPLETIONS, CompletionRequest)]
)
def test_what_it_is_said_to_honour_it_knows(operation: Operation, kind: type[ChatRequest | CompletionRequest]) -> None:
    assert ENGINE.dialect.honours[operation] <= set(kind.__struct_fields__)


async def test_its_load_is_in_its_metrics() -> None:
    page = "moegate_reference_engine_requests_running 2\nmoegate_reference_engine_requests_waiting 1\n"
    found, asked = await probe(ENGINE, {"/health": 200, "/metrics": page})
    assert found == Probe(ReplicaState.READY, load=ReplicaLoad(2, 1))
    assert asked == ["/health", "/metrics"]
