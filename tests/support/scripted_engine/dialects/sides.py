"""What engines answer beside inference: health, models, metrics; the paths and figures are each dialect's."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.support.scripted_engine.wire import head, json_response, text_response

if TYPE_CHECKING:
    from tests.support.scripted_engine.state import EngineState


def health(state: "EngineState", _: str) -> bytes:
    """A status and nothing else."""
    return head(state.health_status, b"text/plain", 0)


def page(payload: object) -> bytes:
    """A page of JSON."""
    return json_response(200, payload)


def model_list(name: str, **fields: Any) -> bytes:
    """The one model."""
    return page({"object": "list", "data": [{"id": name, "object": "model", **fields}]})


def metrics(prefix: str, labels: str, gauges: dict[str, str]) -> Callable[["EngineState", str], bytes]:
    """A page of gauges; each is named with the count of ours that it tells, or with nothing where it stays zero."""

    def render(state: "EngineState", model: str) -> bytes:
        where = labels.format(model=model)
        lines = [
            f"# TYPE {prefix}{name} gauge\n{prefix}{name}{where} {float(getattr(state, count) if count else 0)}\n"
            for name, count in gauges.items()
        ]
        return text_response("".join(lines))

    return render
