"""All cases; importing this package registers them."""

from tests.conformance.backends.cases import (  # noqa: F401
    answers,
    endings,
    histories,
    leaving,
    messages,
    odd_streams,
    parameters,
    reasoning,
    refusals,
    requests,
    responses,
    tokens,
    tools,
    wrong_turns,
)
