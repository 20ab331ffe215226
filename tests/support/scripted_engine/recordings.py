"""What real engines sent, boiled down to which keys stand where, so that the dialects can be held against it.

`python -m tests.support.scripted_engine.recordings FOLDER [NAME...] > recorded/ENGINE.json` reads a folder of captures: for
each exchange the request as it was sent (`NAME.request.http`) and the answer as it came (`NAME.http`).
"""

import json
import sys
from pathlib import Path
from typing import Any

Json = dict[str, Any]
RECORDED = Path(__file__).parent / "recorded"
LONGEST_REQUEST = 4_000  # prompts that are too long on purpose are told by their error


def skeleton(value: Any) -> Any:
    """Keys and types of a JSON value; of a list its first item, of equal keys whatever their order."""
    if isinstance(value, dict):
        return {
            name: _by_token(value[name]) if name == "top_logprobs" else skeleton(value[name]) for name in sorted(value)
        }
    if isinstance(value, list):
        return [skeleton(value[0])] if value else []
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else None


def _by_token(value: Any) -> Any:
    """Alternatives are objects in chat; in completions tokens are the keys, and no two answers have the same."""
    named = isinstance(value, list) and value and isinstance(value[0], dict) and "token" not in value[0]
    return ["number by token"] if named else skeleton(value)


def event_skeletons(stream: bytes) -> list[Any]:
    """The skeleton of each event, repetitions left out; an event's name comes first where it has one."""
    found: list[Any] = []
    for event in stream.replace(b"\r\n", b"\n").split(b"\n\n"):
        fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line)
        if b"data" not in fields:
            continue
        data = fields[b"data"]
        payload = "[DONE]" if data == b"[DONE]" else skeleton(json.loads(data))
        shape = [fields[b"event"].decode(), payload] if b"event" in fields else payload
        if not found or found[-1] != shape:
            found.append(shape)
    return found


def answer_skeleton(status: int, content_type: str, body: bytes) -> Json:
    """An answer's skeleton."""
    kind = content_type.partition(";")[0]
    if kind == "text/event-stream":
        return {"status": status, "type": kind, "events": event_skeletons(body)}
    return {
        "status": status,
        "type": kind,
        "body": skeleton(json.loads(body)) if kind.endswith("json") and body else None,
    }


def read_capture(folder: Path, name: str) -> Json | None:
    """One exchange of a folder; None where it has no request or no whole answer."""
    request, answer = folder / f"{name}.request.http", folder / f"{name}.http"
    if not request.is_file() or not answer.is_file():
        return None
    head, _, sent = request.read_bytes().partition(b"\r\n\r\n")
    method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
    head, _, received = answer.read_bytes().partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 ") or len(sent) > LONGEST_REQUEST:
        return None
    headers = dict(line.lower().split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:])
    body = _dechunked(received) if "chunked" in headers.get("transfer-encoding", "") else received
    exchange = {"method": method, "path": path, "request": sent.decode()}
    return {**exchange, **answer_skeleton(int(head.split()[1]), headers.get("content-type", ""), body)}


def _dechunked(body: bytes) -> bytes:
    pieces = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        pieces.append(rest[:length])
        body = rest[length + 2 :] if length else b""
    return b"".join(pieces)


def differences(recorded: Any, scripted: Any, where: str = "") -> list[str]:
    """Where two skeletons differ; null fits anything, because it says only that a value may be missing."""
    if recorded is None or scripted is None or recorded == scripted:
        return []
    if isinstance(recorded, dict) and isinstance(scripted, dict):
        gone = [f"{where}.{name} is only recorded" for name in recorded.keys() - scripted.keys()]
        new = [f"{where}.{name} is only scripted" for name in scripted.keys() - recorded.keys()]
        shared = [
            line
            for name in recorded.keys() & scripted.keys()
            for line in differences(recorded[name], scripted[name], f"{where}.{name}")
        ]
        return [*gone, *new, *shared]
    if isinstance(recorded, list) and isinstance(scripted, list):
        if not recorded or not scripted:
            return []
        return differences(recorded[0], scripted[0], f"{where}[]")
    return [f"{where}: recorded {recorded}, scripted {scripted}"]


def main() -> None:
    """Print the recording of a folder."""
    folder, *names = Path(sys.argv[1]), *sys.argv[2:]
    names = names or sorted(path.name.removesuffix(".request.http") for path in folder.glob("*.request.http"))
    found = {name: exchange for name in names if (exchange := read_capture(folder, name)) is not None}
    lines = [f"{json.dumps(name)}: {json.dumps(exchange, ensure_ascii=False)}" for name, exchange in found.items()]
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
