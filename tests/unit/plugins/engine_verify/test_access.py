"""What a command gets of a configuration: every replica with its key, its backend and its timeouts."""

from __future__ import annotations

import json
from pathlib import Path

from gateway import Introspective
from gateway.cli.opening import Opener
from plugins.engine_verify.asking import introspection_of
from plugins.engine_verify.commands import SERVICE, Verification

CONFIG = {
    "server": {"anonymous": True},
    "models": [
        {
            "name": "kimi-k2",
            "checkpoint": {"id": "moonshotai/Kimi-K2-Instruct", "context_length": 1000},
            "timeouts": {"connect_seconds": 1.5, "first_byte_seconds": 40},
            "replicas": [
                {"name": "a", "backend": "vllm", "url": "http://127.0.0.1:1", "api_key": "very-private"},
                {"name": "b", "backend": "torch_reference", "url": "http://127.0.0.1:2"},
            ],
        }
    ],
    "plugins": [
        {"use": "engine_verify", "float32": {"mean_nats": 1, "largest_nats": 2, "others_mean_nats": 3}},
    ],
}


async def test_every_replica_comes_with_what_it_takes_to_ask_it(tmp_path: Path) -> None:
    file = tmp_path / "moegate.yaml"
    file.write_text(json.dumps(CONFIG))
    async with Opener().open(file) as configuration:
        first, second = configuration.access()
        held = configuration.service(SERVICE)
    assert first.headers == ((b"authorization", b"Bearer very-private"),)
    assert second.headers == ()
    assert (first.connect_seconds, first.first_byte_seconds) == (1.5, 40)
    assert [each.backend.kind for each in (first, second)] == ["vllm", "torch_reference"]
    assert [introspection_of(each).is_reference for each in (first, second)] == [False, True]
    assert all(isinstance(each.backend, Introspective) for each in (first, second))
    assert isinstance(held, Verification)
    assert held.settings.float32.others_mean_nats == 3
