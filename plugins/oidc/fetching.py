"""Asks the issuer for its keys over HTTP, never on a call's way; trusts no redirect, no length and no other host's word."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import httpx
import msgspec

from gateway.errors import ConfigError
from plugins.oidc.jwks import KeySet, NoKeys, read_keys
from plugins.oidc.settings import OidcSettings, trustworthy

FETCH_SECONDS = 10.0
MAX_BYTES = 1_048_576
DISCOVERY = "/.well-known/openid-configuration"


class FetchFailed(Exception):
    """The issuer's keys could not be had; the message is for the log."""


class Fetcher:
    """Fetches the keys of one issuer.

    Raises:
        ConfigError: the certificates or the proxy cannot be used.
    """

    def __init__(self, settings: OidcSettings) -> None:
        self._issuer = settings.issuer
        self._jwks_url = settings.jwks_url
        self._proxy = settings.proxy.reveal() if settings.proxy is not None else None
        try:
            self._context = ssl.create_default_context(cafile=settings.ca_file)
        except OSError as error:
            raise ConfigError(f"ca_file: {settings.ca_file} cannot be used: {error.strerror or error}") from error
        try:
            self._client()
        except (ValueError, httpx.InvalidURL):
            raise ConfigError("proxy: not the URL of a proxy") from None

    async def __call__(self) -> KeySet:
        """Fetch the keys now.

        Raises:
            FetchFailed: whatever went wrong.
        """
        try:
            async with asyncio.timeout(FETCH_SECONDS), self._client() as client:
                url = self._jwks_url or await self._discovered(client)
                return read_keys(await _json(client, url))
        except TimeoutError:
            raise FetchFailed(f"no answer within {FETCH_SECONDS:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, NoKeys) as error:
            raise FetchFailed(f"{type(error).__name__}: {error}") from error

    def _client(self) -> httpx.AsyncClient:
        # One for each time: there are minutes in between.
        return httpx.AsyncClient(
            verify=self._context,
            proxy=self._proxy,
            trust_env=False,
            follow_redirects=False,
            timeout=FETCH_SECONDS,
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )

    async def _discovered(self, client: httpx.AsyncClient) -> str:
        found = await _json(client, self._issuer.rstrip("/") + DISCOVERY)
        if not isinstance(found, dict) or found.get("issuer") != self._issuer:
            raise FetchFailed("the issuer's configuration is that of another issuer")
        url = found.get("jwks_uri")
        if not isinstance(url, str) or not trustworthy(url) or url[:6] != self._issuer[:6]:  # https stays https
            raise FetchFailed("the issuer's configuration has no jwks_uri that could be trusted")
        return url


async def _json(client: httpx.AsyncClient, url: str) -> Any:
    body = bytearray()
    async with client.stream("GET", url) as answer:
        if answer.status_code != httpx.codes.OK:
            raise FetchFailed(f"status {answer.status_code}")
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > MAX_BYTES:
                raise FetchFailed(f"an answer of more than {MAX_BYTES} bytes")
    try:
        return msgspec.json.decode(bytes(body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise FetchFailed("an answer that is not JSON") from error
