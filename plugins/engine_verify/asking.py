"""Asks one replica, directly and as the gateway itself would: its backend writes each request; nothing is compared here."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import httpx
import msgspec
from msgspec import Raw

from gateway import Call, Introspection, Introspective, NativeContinuation, Operation, Principal, ReplicaAccess
from gateway.errors import UpstreamError, UpstreamOverloaded, UpstreamRefused
from plugins.engine_verify import reading
from plugins.engine_verify.evidence import Continuation, Identity, PromptTokens
from plugins.engine_verify.prompts import Prompt

MAX_ANSWER_BYTES = 16 * 1024 * 1024
TRIES_WHEN_OVERLOADED = 4
# Engines list at most twenty; OpenAI's own API five.
ALTERNATIVES = 5

_PRINCIPAL = Principal("verify", "moegate engines verify", "moegate")
_TOP_LEVEL = msgspec.json.Decoder(dict[str, Raw])


class Unreachable(Exception):
    """The replica cannot be asked at all; one line, without an address."""


class Refused(Exception):
    """The replica does not answer this one question; the line says why."""


class Asker:
    """Asks one replica, one question at a time: what is measured must not be the replica's queue."""

    def __init__(self, client: httpx.AsyncClient, target: ReplicaAccess) -> None:
        self.target = target
        self._client = client
        self._introspection = introspection_of(target)
        # Without the model's sampling defaults: they are for answers, and these are measurements.
        self._model = msgspec.structs.replace(target.model, defaults={})
        self._timeout = httpx.Timeout(target.first_byte_seconds, connect=target.connect_seconds)

    @property
    def takes_ids(self) -> bool:
        """Whether a prompt may be token ids."""
        return self._introspection.continues is not None or Operation.COMPLETIONS in self.target.replica.operations

    async def identity(self) -> Identity:
        """What the engine says of itself; what it does not tell is left out.

        Raises:
            Unreachable: see there.
        """
        introspection = self._introspection
        listed = await self._look(introspection.models_path) if introspection.models_path is not None else None
        try:
            served = reading.served_names(listed) if listed is not None else None
        except reading.Unreadable:
            served = None
        told = {}
        # In order and each page once: facts of one engine often stand on one page.
        pages = {path: await self._look(path) for path in dict.fromkeys(fact.path for fact in introspection.facts)}
        for fact in introspection.facts:
            page = pages[fact.path]
            value = reading.fact(page, fact.field) if page is not None else None
            if value is not None:
                told[fact.name.value] = value
        return Identity(served, told)

    async def _look(self, path: str) -> bytes | None:
        """A page of the engine; None where it has none."""
        try:
            status, body = await self._send("GET", path, ())
        except Refused:
            return None
        return body if status == httpx.codes.OK else None

    async def prompt_tokens(self, prompt: Prompt) -> PromptTokens:
        """How the engine cuts a prompt; the reason where it does not tell.

        Raises:
            Unreachable: see there.
        """
        operation, fields = _question(prompt)
        try:
            found = await self._ask_prompt_tokens(operation, {**fields, "max_tokens": 1, "temperature": 0})
        except Refused as refused:
            found = PromptTokens(reason=str(refused), refused=True)
        chat = operation is Operation.CHAT
        if found.ids is None and Operation.TOKENIZE in self.target.replica.operations:
            if chat and not self._introspection.tokenizes_chats:
                return found
            try:
                ids = reading.tokenized(await self._ask(Operation.TOKENIZE, fields))
            except (Refused, reading.Unreadable):
                return found
            # Where the two disagree, `tokenize` is not what the engine runs.
            if found.count in (None, len(ids)):
                return PromptTokens(len(ids), ids)
        return found

    async def _ask_prompt_tokens(self, operation: Operation, fields: Mapping[str, Any]) -> PromptTokens:
        try:
            return reading.prompt_tokens(await self._ask(operation, fields))
        except reading.Unreadable as unreadable:
            raise Refused(str(unreadable)) from unreadable

    async def go_on(self, prompt: Prompt | tuple[int, ...], max_tokens: int) -> Continuation:
        """What the engine writes next, greedily, with log-probabilities; token ids are a prompt of plain completions.

        Raises:
            Refused, Unreachable: see there.
        """
        if isinstance(prompt, tuple) and self._introspection.continues is not None:
            return await self._continue(self._introspection.continues, prompt, max_tokens)
        if isinstance(prompt, tuple):
            operation, fields = Operation.COMPLETIONS, {"prompt": list(prompt)}
        else:
            operation, fields = _question(prompt)
        wanted: dict[str, Any] = {"logprobs": ALTERNATIVES}
        if operation is Operation.CHAT:
            wanted = {"logprobs": True, "top_logprobs": ALTERNATIVES}
        body = await self._ask(operation, {**fields, **wanted, "max_tokens": max_tokens, "temperature": 0})
        try:
            return reading.continuation(body)
        except reading.Unreadable as unreadable:
            raise Refused(str(unreadable)) from unreadable

    async def _continue(self, native: NativeContinuation, ids: tuple[int, ...], max_tokens: int) -> Continuation:
        body = deepcopy(dict(native.fields))
        for field, value in ((native.ids_field, list(ids)), (native.limit_field, max_tokens)):
            *parents, name = field.split(".")
            place = body
            for parent in parents:
                place = place.setdefault(parent, {})
            place[name] = value
        headers = ((b"content-type", b"application/json"),)
        try:
            return reading.generated(await self._post(native.path, headers, msgspec.json.encode(body)))
        except reading.Unreadable as unreadable:
            raise Refused(str(unreadable)) from unreadable

    async def _ask(self, operation: Operation, fields: Mapping[str, Any]) -> bytes:
        """Ask as the gateway would, and add what makes the engine list token ids."""
        if operation not in self.target.replica.operations:
            raise Refused(f"the engine does not serve {operation.value}")
        try:
            prepared = self._prepared(operation, fields)
        except Refused:
            raise
        except Exception as error:  # a stranger's backend; its fault must not end the others' verification
            raise Unreachable(f"its backend cannot write a request: {type(error).__name__}") from error
        return await self._post(*prepared)

    async def _post(self, path: str, headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> bytes:
        """Send a request, and again while the engine says that it is overloaded."""
        for attempt in range(1, TRIES_WHEN_OVERLOADED + 1):
            status, answer = await self._send("POST", path, headers, body)
            if httpx.codes.is_success(status):
                return answer
            error = self.target.backend.read_error(status, answer)
            if not isinstance(error, UpstreamOverloaded) or attempt == TRIES_WHEN_OVERLOADED:
                raise Refused(_words(error, status))
            await asyncio.sleep((error.retry_after_seconds or 1.0) * attempt)
        raise AssertionError("the last try returns or raises")

    def _prepared(
        self, operation: Operation, fields: Mapping[str, Any]
    ) -> tuple[str, tuple[tuple[bytes, bytes], ...], bytes]:
        body = msgspec.json.encode({"model": self._model.name, **fields})
        call_id = uuid.uuid4().hex
        call = Call(
            call_id=call_id,
            operation=operation,
            model=self._model,
            requested_model=self._model.name,
            principal=_PRINCIPAL,
            body=body,
            fields=_TOP_LEVEL.decode(body),
            max_tokens=fields.get("max_tokens"),
            has_tools=bool(fields.get("tools")),
        )
        objection = self.target.backend.objection(call, self.target.replica)
        if objection is not None:
            raise Refused(objection)
        request = self.target.backend.prepare(call, self.target.replica, call_id)
        added = self._introspection.answer_fields if operation is not Operation.TOKENIZE else {}
        sent = {**_TOP_LEVEL.decode(request.body), **added}
        return request.path, request.headers, msgspec.json.encode(sent)

    async def _send(
        self, method: str, path: str, headers: tuple[tuple[bytes, bytes], ...], body: bytes | None = None
    ) -> tuple[int, bytes]:
        url = self.target.replica.url + path
        pieces: list[bytes] = []
        length = 0
        try:
            async with self._client.stream(
                method, url, headers=[*headers, *self.target.headers], content=body, timeout=self._timeout
            ) as response:
                async for piece in response.aiter_bytes():
                    pieces.append(piece)
                    length += len(piece)
                    if length > MAX_ANSWER_BYTES:
                        raise Refused(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        except httpx.HTTPError as error:
            raise Unreachable(f"{path}: {_broken(error)}") from error
        return response.status_code, b"".join(pieces)


def introspection_of(target: ReplicaAccess) -> Introspection:
    """What this kind of engine tells of itself."""
    return target.backend.introspection if isinstance(target.backend, Introspective) else Introspection()


def _question(prompt: Prompt) -> tuple[Operation, dict[str, Any]]:
    if prompt.messages is None:
        return Operation.COMPLETIONS, {"prompt": prompt.text}
    return Operation.CHAT, {"messages": prompt.messages, **({"tools": prompt.tools} if prompt.tools else {})}


def _broken(error: httpx.HTTPError) -> str:
    """Why there was no answer, without the address that httpx puts into some of its words."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "it accepts no connection"
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time"
    return f"the connection broke ({type(error).__name__})"


def _words(error: UpstreamError, status: int) -> str:
    """An engine's refusal for people: its own words where they are cleaned, else what kind of refusal it was."""
    return f"refused with {status}: {error.message if isinstance(error, UpstreamRefused) else error.public_message}"
