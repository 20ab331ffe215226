"""Configurations for tests, as plain data."""

from __future__ import annotations

from typing import Any

from tests.support.scripted_engine.process import ScriptedEngine

Json = dict[str, Any]

# All that the scripted engine serves: of an engine that it does not know, the gateway expects chat and completions alone.
OPERATIONS = ["chat", "completions", "responses", "messages", "count_tokens", "tokenize"]


def replica(name: str, engine: ScriptedEngine, **settings: Any) -> Json:
    """A replica on a scripted engine, to which nothing is sent that was not asked for: dialects are tests/conformance's."""
    plain = {"name": name, "backend": "openai_compatible", "url": engine.url, "served_model": "kimi-k2"}
    if "backend" not in settings:
        plain["options"] = {"operations": OPERATIONS}
    return {**plain, **settings}


def model(name: str, *replicas: Json, context_length: int = 131_072, **settings: Any) -> Json:
    """A model and its replicas."""
    checkpoint = {"id": "moonshotai/Kimi-K2-Instruct", "licence": "kimi-k2", "context_length": context_length}
    return {"name": name, "checkpoint": checkpoint, "replicas": list(replicas), **settings}


def config(*models: Json, keys: dict[str, str], per_key: int = 1000, **settings: Any) -> Json:
    """A whole configuration. Without `least_loaded`, replicas are tried in the order in which they stand here."""
    return {
        "models": list(models),
        "policies": {
            "admission": [{"use": "concurrency_limit", "per_key": per_key}],
            "routing": [{"use": "context_fit"}],
        },
        "plugins": [
            {"use": "api_keys", "keys": [{"name": name, "tenant": name, "secret": key} for name, key in keys.items()]},
            {"use": "prometheus"},
        ],
        **settings,
    }
