"""The table of inference endpoints: which path is which operation, and in whose words its errors are told."""

from __future__ import annotations

from msgspec import Struct

from gateway.contracts.call import Operation
from gateway.http.shapes import ANTHROPIC, OPENAI, RESPONSES, Shape


class Endpoint(Struct, frozen=True):
    """One of them."""

    operation: Operation
    errors: Shape


ENDPOINTS = {
    "/v1/chat/completions": Endpoint(Operation.CHAT, OPENAI),
    "/v1/completions": Endpoint(Operation.COMPLETIONS, OPENAI),
    "/v1/responses": Endpoint(Operation.RESPONSES, RESPONSES),
    "/v1/messages": Endpoint(Operation.MESSAGES, ANTHROPIC),
    "/v1/messages/count_tokens": Endpoint(Operation.COUNT_TOKENS, ANTHROPIC),
    "/tokenize": Endpoint(Operation.TOKENIZE, OPENAI),
}


def shape_at(path: str) -> Shape:
    """The words for a request that reached no endpoint: a path below one is asked for by the same clients."""
    for known, endpoint in ENDPOINTS.items():
        if path == known or path.startswith(f"{known}/"):
            return endpoint.errors
    return OPENAI
