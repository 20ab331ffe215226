"""What a case works with: a gateway with one kind of engine behind a model's name, and the clients to ask it by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx
import openai

from tests.conformance.backends.asking import CHAT, SUM, Json
from tests.conformance.backends.case import Case, Declaration, Need
from tests.support.scripted_engine.process import ScriptedEngine

TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Clients:
    """The official SDKs and a plain client, each with a key of the gateway's; one set serves all cases.

    Attributes:
        openai: repeats nothing by itself, so that every failure is seen; so does `anthropic`.
        http: for what no SDK would send, and for bytes.
    """

    openai: openai.OpenAI
    anthropic: anthropic.Anthropic
    http: httpx.Client
    key: str


@contextmanager
def clients(base_url: str, key: str, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[Clients]:
    """Clients of a gateway; without `/v1` at the end of its URL."""

    # Without the environment's proxies, and without reading certificates that plain HTTP has no use for.
    options: dict[str, Any] = {"trust_env": False, "verify": False, "timeout": timeout_seconds}
    of_openai = openai.DefaultHttpxClient(**options)
    of_anthropic = anthropic.DefaultHttpxClient(**options)
    with (
        openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0, http_client=of_openai) as openai_client,
        anthropic.Anthropic(
            base_url=base_url, api_key=key, max_retries=0, http_client=of_anthropic
        ) as anthropic_client,
        httpx.Client(base_url=base_url, headers={"authorization": f"Bearer {key}"}, **options) as http,
    ):
        yield Clients(openai_client, anthropic_client, http, key)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One kind of engine behind a gateway.

    Attributes:
        engine: what `x-moegate-backend` says of it.
        model: the name under which the gateway serves it, and it alone.
        aliases: further names of the same.
        variants: names of models that differ by configuration, by what they are for; see `scripted.py`.
        door: the scripted engine itself, where it is one.
        running: how many requests the engine says that it runs.
        gives: what else it offers.
        begin: called before each case.
    """

    engine: str
    model: str
    clients: Clients
    declaration: Declaration
    aliases: tuple[str, ...] = ()
    variants: dict[str, str] = field(default_factory=dict)
    door: ScriptedEngine | None = None
    running: Callable[[], float] | None = None
    gives: frozenset[Need] = frozenset()
    begin: Callable[[Case], None] = lambda _: None

    @property
    def openai(self) -> openai.OpenAI:
        """The SDK."""
        return self.clients.openai

    @property
    def anthropic(self) -> anthropic.Anthropic:
        """The SDK."""
        return self.clients.anthropic

    @property
    def http(self) -> httpx.Client:
        """The plain client."""
        return self.clients.http

    @property
    def scripted(self) -> ScriptedEngine:
        """The door, for cases that need it."""
        assert self.door is not None, "this case needs Need.DOOR"
        return self.door

    def sent(self) -> Json:
        """The body that the engine got last."""
        return self.scripted.last_json()

    def sent_headers(self) -> dict[str, str]:
        """The headers that the engine got last, names in lower case."""
        return {name.lower(): value for name, value in self.scripted.state()["last"]["headers"]}

    # -- asking ---------------------------------------------------------------------------------------------------

    def body(self, messages: list[Json] | None = None, **fields: Any) -> Json:
        """A chat request: greedy and short unless it says otherwise."""
        return {"model": self.model, "messages": messages or SUM, "temperature": 0, "max_tokens": 96, **fields}

    def chat(self, messages: list[Json] | None = None, **fields: Any) -> Any:
        """Ask by the OpenAI SDK."""
        return self.openai.chat.completions.create(**self.body(messages, **fields))

    def raw_chat(self, messages: list[Json] | None = None, **fields: Any) -> Any:
        """The same, with the headers of the answer; what it says is in `parse()`."""
        return self.openai.chat.completions.with_raw_response.create(**self.body(messages, **fields))

    def post(self, path: str, body: Json | bytes, **headers: str) -> httpx.Response:
        """Ask with bytes, or with anything that JSON can say."""
        if isinstance(body, bytes):
            return self.http.post(path, content=body, headers={"content-type": "application/json", **headers})
        return self.http.post(path, json=body, headers=headers)

    def broken_off(self, path: str, body: Json) -> bytes:
        """A whole stream that the engine breaks off at a gate, which is opened once the client has what came before."""
        with self.http.stream("POST", path, json=body) as response:
            assert response.status_code == 200, response.read()
            received = response.iter_raw()
            content = next(received)
            self.release()
            return content + b"".join(received)

    def release(self) -> None:
        """Open the engine's gates, once it stands at one."""
        self.scripted.wait(waiting=1)
        self.scripted.release()

    def stream_bytes(self, messages: list[Json] | None = None, **fields: Any) -> httpx.Response:
        """A whole stream as it came."""
        return self.post(CHAT, self.body(messages, stream=True, **fields))
