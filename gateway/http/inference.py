"""Turns an inference request into a Call: who asks, what for, of which model; then hands it to the data plane."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct

from gateway.contracts.call import Call, Operation, Principal, Scope
from gateway.dataplane.serving import Serving
from gateway.errors import GatewayError, InvalidRequest, MethodNotAllowed, ModelNotFound, Rejected, Unauthenticated
from gateway.fleet.pool import Pool
from gateway.http import requests
from gateway.http.endpoints import Endpoint
from gateway.http.exchange import ClientLeft, Exchange
from gateway.registry import nearest

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive

    from gateway.contracts.plugin import Authenticator

log = structlog.get_logger("moegate.http")

# Of which a host and its port may consist (RFC 3986, 3.2.2); RFC 9112, 3.2 wants 400 for anything else.
_OF_HOSTS = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~!$&'()*+,;=:[]@%"

ANONYMOUS = Principal(key_id="anonymous", key_name="anonymous", tenant="anonymous")


class Limits(Struct, frozen=True):
    """What the edge takes from a client."""

    max_body_bytes: int
    body_seconds: float
    debug: bool


class Door:
    """Knows callers and models."""

    def __init__(self, authenticators: Sequence[Authenticator], pools: Sequence[Pool], *, anonymous: bool) -> None:
        self._authenticators = tuple(authenticators)
        self._anonymous = anonymous
        self.pools = tuple(pools)
        self._by_name = {name: pool for pool in pools for name in (pool.model.name, *pool.model.aliases)}

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Find out who is calling.

        Raises:
            Unauthenticated: nobody we know.
        """
        refusal: Unauthenticated | None = None
        for authenticator in self._authenticators:
            try:
                principal = authenticator.authenticate(headers)
            except Unauthenticated as error:
                # Of its kind, and unknown to it: another one may know it, as keys of two authenticators look alike.
                refusal = refusal or error
                continue
            if principal is not None:
                return principal
        if refusal is not None:
            raise refusal
        if self._anonymous:
            return ANONYMOUS
        raise Unauthenticated(
            "No valid API key was given. Send it as `Authorization: Bearer mg-…`, `x-api-key` or `api-key`."
        )

    def pool(self, name: str) -> Pool:
        """Find the pool that serves a model name.

        Raises:
            ModelNotFound: there is none; the message lists near names.
        """
        pool = self._by_name.get(name)
        if pool is None:
            raise ModelNotFound(
                f"There is no model {name[:128]!r} here; {nearest(name[:128], self._by_name)}", param="model"
            )
        return pool

    def check_allowed(self, principal: Principal, pool: Pool, operation: Operation) -> None:
        """See that a caller may ask a model for an operation.

        Raises:
            Rejected: it may not.
        """
        if principal.models is not None and pool.model.name not in principal.models:
            raise Rejected(f"This key may not use the model {pool.model.name}.", param="model")
        if principal.operations is not None and operation not in principal.operations:
            raise Rejected(f"This key may not be used for {operation.value}.")

    def check_operation(self, pool: Pool, operation: Operation) -> None:
        """See that a model can be asked for an operation at all, whatever the state of its replicas.

        Raises:
            InvalidRequest: none of its engines serves it; the message names what they serve, and the models whose do.
        """
        if operation in pool.operations:
            return
        served = ", ".join(sorted(each.value for each in pool.operations)) or "nothing"
        others = [
            f"{other.model.name} ({', '.join(kinds)})"
            for other in self.pools
            if (kinds := sorted({each.backend for each in other.able(operation)}))
        ]
        raise InvalidRequest(
            f"No replica of {pool.model.name} serves {operation.value}: "
            f"its engines ({', '.join(sorted({member.replica.backend for member in pool.members}))}) serve {served}. "
            f"Models here that do: {', '.join(others) or 'none'}.",
            param="model",
        )


class Inference:
    """The inference endpoints of one runtime."""

    def __init__(self, door: Door, serving: Serving, limits: Limits) -> None:
        self._door = door
        self._serving = serving
        self._limits = limits

    async def handle(self, endpoint: Endpoint, scope: HTTPScope, receive: Receive) -> None:
        """Serve one request to its end."""
        exchange = Exchange(scope, receive, endpoint.errors, debug=self._limits.debug)
        try:
            if exchange.headers.get(b"host", b"").translate(None, _OF_HOSTS):
                raise InvalidRequest("The Host header is no host.")
            principal = self._door.authenticate(exchange.headers)
            if Scope.INFERENCE not in principal.scopes:
                raise Rejected("This key may not be used for inference.")
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"Use POST here, not {scope['method']}.")
            body = await exchange.read_body(self._limits.max_body_bytes, self._limits.body_seconds)
            pool, call = self._read(endpoint.operation, principal, body, scope)
        except GatewayError as error:
            await exchange.fail(error)
        except ClientLeft:
            return
        except Exception:
            log.exception("request crashed", call_id=scope["state"]["call_id"])
            await exchange.fail(GatewayError("unexpected error"))
        else:
            exchange.watch()
            await self._serving.serve(call, pool, exchange)

    def _read(self, operation: Operation, principal: Principal, body: bytes, scope: HTTPScope) -> tuple[Pool, Call]:
        found = requests.peek(operation, body)
        pool = self._door.pool(found.model)
        self._door.check_allowed(principal, pool, operation)
        self._door.check_operation(pool, operation)
        return pool, Call(
            call_id=scope["state"]["call_id"],
            operation=operation,
            model=pool.model,
            requested_model=found.model,
            principal=principal,
            body=body,
            fields=requests.cut(body),
            headers=tuple(scope["headers"]),
            stream=found.streamed,
            wants_usage=found.wants_usage,
            sets_stream_options=found.sets_stream_options,
            max_tokens=found.answer_limit,
            user=found.caller,
            has_tools=found.declares_tools,
            priority=principal.priority,
            received_at=time.monotonic(),
        )
