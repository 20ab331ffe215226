"""A tiny engine behind httpx's mock transport: a language model by arithmetic, so that verifying runs whole without sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import httpx

from gateway import Introspection, Operation, ReplicaAccess, UpstreamRequest
from gateway.errors import UpstreamBroken, UpstreamError, UpstreamOverloaded, UpstreamRefused
from tests.unit.builders import MODEL, make_replica
from tests.unit.fakes import FakeBackend

Json = dict[str, Any]
VOCABULARY = [chr(97 + index) for index in range(26)] + ["<end>"]
END = 26
PATHS = {Operation.CHAT: "/chat", Operation.COMPLETIONS: "/completions", Operation.TOKENIZE: "/tokenize"}


class SmallBackend(FakeBackend):
    """Speaks to it."""

    introspection = Introspection(models_path="/models", answer_fields={"return_token_ids": True}, tokenizes_chats=True)

    def __init__(self, operations: Iterable[Operation] = PATHS) -> None:
        super().__init__(operations)

    def objection(self, call: Any, replica: Any) -> str | None:
        return None

    def prepare(self, call: Any, replica: Any, attempt_id: str) -> UpstreamRequest:
        return UpstreamRequest(PATHS[call.operation], ((b"content-type", b"application/json"),), call.body)

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        if status == 503:
            return UpstreamOverloaded("full", retry_after_seconds=0.001)
        return UpstreamRefused("it says no", engine_status=status) if status == 400 else UpstreamBroken("broken")


class QuietBackend(SmallBackend):
    """Says nothing of itself: what a stranger's backend is like."""

    introspection = Introspection(models_path=None)


class SmallEngine:
    """Writes letters; each follows from the sum of those before it.

    Attributes:
        drift: added to every log-probability, by the token's number.
        turn: from this many letters on, it writes another letter than it would.
        offset: its tokenizer gives each character a number that much higher.
        template: into what it puts a conversation.
        tells_ids, tells_logprobs, lists_end: what it is able to do.
        refuses: per path and body, a status to refuse with.
        asked: every path and body.
    """

    def __init__(self, **abilities: Any) -> None:
        self.drift: Callable[[int], float] = lambda _: 0.0
        self.turn: int | None = None
        self.offset = 0
        self.template = "{}>"
        self.tells_ids = self.tells_logprobs = self.lists_end = True
        self.served = ["kimi-k2"]
        self.refuses: Callable[[str, Json], int | None] = lambda _path, _body: None
        self.asked: list[tuple[str, Json]] = []
        for name, value in abilities.items():
            assert hasattr(self, name)
            setattr(self, name, value)

    def encode(self, text: str) -> list[int]:
        return [(ord(character) + self.offset) % 26 for character in text]

    def scores(self, ids: list[int]) -> list[float]:
        likeliest = (sum(ids) * 7 + len(ids)) % 26
        if sum(ids) % 9 == 0:
            likeliest = END
        if self.turn is not None and len(ids) >= self.turn:
            likeliest = (likeliest + 1) % 26
        return [-0.1 - 0.5 * ((number - likeliest) % 27) + self.drift(number) for number in range(27)]

    def handle(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        path = request.url.path
        self.asked.append((path, body))
        status = self.refuses(path, body)
        if status is not None:
            return httpx.Response(status, json={"error": {"message": "it says no"}})
        if path == "/models":
            return httpx.Response(200, json={"data": [{"id": name} for name in self.served]})
        if path == "/native":
            return httpx.Response(200, json=self._native(body["input_ids"], body["params"]["most"]))
        ids = self._prompt(body)
        if path == "/tokenize":
            return httpx.Response(200, json={"tokens": ids, "count": len(ids)})
        return httpx.Response(200, json=self._answer(ids, body))

    def _prompt(self, body: Json) -> list[int]:
        if "messages" in body:
            said = json.dumps([body["messages"], body.get("tools")])
            return self.encode(self.template.format(said))
        return body["prompt"] if isinstance(body["prompt"], list) else self.encode(body["prompt"])

    def _native(self, prompt: list[int], most: int) -> Json:
        choice = self._answer(prompt, {"max_tokens": most, "logprobs": True})["choices"][0]
        listed = choice["logprobs"]["content"]

        def scored(entry: Json) -> list[Any]:
            return [entry["logprob"], VOCABULARY.index(entry["token"]), None]

        meta = {
            "output_token_logprobs": [scored(entry) for entry in listed],
            "output_top_logprobs": [[scored(other) for other in entry["top_logprobs"]] for entry in listed],
            "finish_reason": {"type": choice["finish_reason"], "length": len(listed)},
        }
        return {"text": "", "meta_info": meta}

    def _answer(self, prompt: list[int], body: Json) -> Json:
        written: list[int] = []
        listed: list[Json] = []
        finish = "length"
        for _ in range(body["max_tokens"]):
            scores = self.scores(prompt + written)
            number = max(range(27), key=scores.__getitem__)
            if number == END:
                finish = "stop"
            if number != END or self.lists_end:
                best = sorted(range(27), key=scores.__getitem__, reverse=True)[:5]
                written.append(number)
                listed.append(
                    {
                        "token": VOCABULARY[number],
                        "logprob": scores[number],
                        "top_logprobs": [{"token": VOCABULARY[each], "logprob": scores[each]} for each in best],
                    }
                )
            if finish == "stop":
                break
        choice: Json = {"finish_reason": finish}
        if body.get("logprobs") and self.tells_logprobs:
            choice["logprobs"] = {"content": listed}
        answer: Json = {"choices": [choice], "usage": {"prompt_tokens": len(prompt)}}
        if self.tells_ids and body.get("return_token_ids"):
            choice["token_ids"] = written
            answer["prompt_token_ids"] = prompt
        return answer


def access(name: str, backend: SmallBackend | None = None, **changes: Any) -> ReplicaAccess:
    """What it takes to ask the engine whose host is its replica's name."""
    backend = backend or SmallBackend()
    replica = make_replica(name, url=f"http://{name}", operations=backend.operations, **changes)
    return ReplicaAccess(
        replica=replica,
        model=MODEL,
        backend=backend,
        headers=((b"authorization", b"Bearer secret"),),
        connect_seconds=1.0,
        first_byte_seconds=5.0,
    )


def client(**engines: SmallEngine) -> httpx.AsyncClient:
    """A client whose requests go to these engines, by host; other hosts refuse connections."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.host not in engines:
            raise httpx.ConnectError("refused", request=request)
        assert request.headers["authorization"] == "Bearer secret"
        return engines[request.url.host].handle(request)

    return httpx.AsyncClient(transport=httpx.MockTransport(handle))
