"""Asks an API server for EndpointSlices: a list, and what changes from then on; knows nothing of targets."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec

from plugins.discovery_kubernetes.settings import KubernetesSettings
from plugins.discovery_kubernetes.slices import EndpointSlice, EndpointSliceList, Status, WatchEvent

MAX_BYTES = 32 * 1024 * 1024
"""Of one page of a list, or of one event; etcd keeps no object of over 1.5 MiB."""

PAGE = "500"
LATE_SECONDS = 15.0
"""How much later than it was asked to an API server may end a watch, before it is taken for dead."""


class ApiFailed(Exception):
    """The API server could not be asked, or refused; the message is for people and holds no token."""


class Gone(Exception):
    """What was asked for is older than what the API server remembers: list anew."""


class Api:
    """The API server, for as long as nothing goes wrong.

    Raises:
        ApiFailed: a file of the account cannot be read.
    """

    def __init__(self, settings: KubernetesSettings) -> None:
        self._settings = settings
        namespace = settings.namespace or _text(settings.token_file, "namespace")
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        try:
            context = ssl.create_default_context(cafile=settings.ca_file) if settings.server[:5] == "https" else True
        except OSError as error:
            raise ApiFailed(f"ca_file: {settings.ca_file} cannot be used: {error.strerror or error}") from None
        # trust_env off: a token must not go to a proxy that the environment names.
        self._client = httpx.AsyncClient(
            base_url=settings.server, verify=context, trust_env=False, follow_redirects=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def list(self) -> tuple[list[EndpointSlice], str]:
        """Every slice, and the version from which on to watch.

        Raises:
            ApiFailed, Gone: see there.
        """
        found: list[EndpointSlice] = []
        rest = ""
        while True:
            query = {"limit": PAGE} | ({"continue": rest} if rest else {})
            async with self._asked(query, self._settings.answer_seconds) as answer:
                page = _decoded(await _whole(answer), EndpointSliceList)
            found += page.items or ()
            rest = page.metadata.continue_
            if not rest:
                return found, page.metadata.resource_version

    async def watch(self, version: str) -> AsyncGenerator[WatchEvent, None]:
        """What changes after this version, until the API server ends it or the connection breaks.

        Raises:
            ApiFailed, Gone: see there.
        """
        seconds = self._settings.watch_seconds
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version}
        query["timeoutSeconds"] = str(round(seconds))
        async with self._asked(query, seconds + LATE_SECONDS) as answer:
            try:
                async for line in _lines(answer):
                    event = _decoded(line, WatchEvent)
                    if event.type == "ERROR":
                        raise _error_of(_decoded(event.object, Status).code)
                    yield event
            except httpx.TransportError:
                return  # load balancers and API servers end watches as they like; the next one goes on from there

    def _asked(self, query: dict[str, str], silent_seconds: float) -> _Asked:
        settings = self._settings
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        if settings.token_file is not None:
            headers["authorization"] = f"Bearer {_text(settings.token_file)}"
        request = self._client.build_request(
            "GET",
            self._path,
            params={"labelSelector": settings.label_selector, **query},
            headers=headers,
            timeout=httpx.Timeout(settings.answer_seconds, read=silent_seconds),
        )
        return _Asked(self._client, request)


class _Asked:
    """A request whose answer is good, for the length of a block."""

    def __init__(self, client: httpx.AsyncClient, request: httpx.Request) -> None:
        self._client = client
        self._request = request
        self._answer: httpx.Response | None = None

    async def __aenter__(self) -> httpx.Response:
        try:
            answer = await self._client.send(self._request, stream=True)
        except httpx.HTTPError as error:
            raise ApiFailed(f"the API server does not answer ({type(error).__name__})") from None
        self._answer = answer
        if answer.status_code != httpx.codes.OK:
            await answer.aclose()
            raise _error_of(answer.status_code)
        return answer

    async def __aexit__(self, *_: object) -> None:
        if self._answer is not None:
            await self._answer.aclose()


def _text(token_file: Path | None, beside: str = "") -> str:
    """What stands in the token's file, or in one beside it."""
    if token_file is None:
        raise ApiFailed("there is no token file")
    file = token_file.with_name(beside) if beside else token_file
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ApiFailed(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'not text'}") from None


def _error_of(code: int) -> Exception:
    if code == httpx.codes.GONE:
        return Gone()
    meaning = {
        401: "its token is not valid (any more)",
        403: "the service account may not list and watch endpointslices here",
    }.get(code, "")
    return ApiFailed(f"the API server answered {code}" + (f": {meaning}" if meaning else ""))


async def _whole(answer: httpx.Response) -> bytes:
    body = bytearray()
    try:
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > MAX_BYTES:
                raise ApiFailed(f"an answer of more than {MAX_BYTES} bytes")
    except httpx.TransportError as error:
        raise ApiFailed(f"the API server's answer broke off ({type(error).__name__})") from None
    return bytes(body)


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in answer.aiter_raw():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(rest) > MAX_BYTES:
            raise ApiFailed(f"an event of more than {MAX_BYTES} bytes")


def _decoded(text: bytes | msgspec.Raw, wanted: type[Any]) -> Any:
    try:
        return msgspec.json.decode(text, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ApiFailed("the API server's answer is not what it should be") from None
