"""Every error the gateway raises on purpose; knows nothing of HTTP servers, engines or policies.

    GatewayError
    ├── ConfigError                 start-up only, never on a call's way
    ├── ClientError                 the message goes to the client as it is
    │   ├── InvalidRequest          400
    │   ├── Unauthenticated         401
    │   ├── Rejected                403
    │   ├── ModelNotFound           404
    │   ├── MethodNotAllowed        405
    │   ├── RequestTimedOut         408
    │   ├── BodyTooLarge            413
    │   └── QuotaExceeded           429
    ├── TooManyConnections          503
    ├── NoReplicaAvailable          503
    ├── QueueTimeout                504
    ├── UpstreamError               the message is for the log; the client gets `public_message`
    │   ├── UpstreamUnreachable     502, retryable
    │   ├── UpstreamOverloaded      503, retryable
    │   ├── UpstreamTimeout         504, retryable
    │   ├── UpstreamBroken          502
    │   ├── EmptyAnswer             502, retryable
    │   └── UpstreamRefused         the engine's own 4xx, passed on
    │       └── ContextTooLong      400, retryable
    └── PolicyFailed                500

Status, code, retryability and log level stand on the class, so that whoever catches an error never asks what it was.
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """Base of the tree.

    Args:
        message: what happened, one sentence. Clients see it only where `public_message` says so.
        param: the request field to blame, in OpenAI's sense of `error.param`.
        retry_after_seconds: when trying again makes sense; becomes `Retry-After`.
        headers: what else the client gets, names in lower case.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    type: ClassVar[str] = "server_error"
    retryable: ClassVar[bool] = False
    log_level: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.headers = headers

    @property
    def public_message(self) -> str:
        """The text a client may read; never holds an address, a path or an engine's raw words."""
        return "The gateway failed to handle this request."


class ConfigError(GatewayError):
    """The configuration cannot be served.

    `problems` holds one line per fault, each starting with the path of the setting it blames.
    """

    code = "config_error"

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ClientError(GatewayError):
    """The caller can mend this; its message is written for the caller."""

    status = 400
    code = "invalid_request"
    type = "invalid_request_error"
    log_level = "info"

    @property
    def public_message(self) -> str:
        """The message as it is."""
        return self.message


class InvalidRequest(ClientError):
    """The body or a parameter makes no sense, or nothing here can serve this operation."""


class Unauthenticated(ClientError):
    """No key, a malformed key, or a key nobody knows; the three look alike on purpose."""

    status = 401
    code = "invalid_api_key"
    type = "authentication_error"


class Rejected(ClientError):
    """A policy refuses this caller this call; `record` is what the ledger keeps of an attribution policy's reason."""

    status = 403
    code = "rejected"
    type = "permission_error"
    record: str = ""


class ModelNotFound(ClientError):
    """No model is served under this name."""

    status = 404
    code = "model_not_found"


class MethodNotAllowed(ClientError):
    """An inference endpoint was asked with something other than POST."""

    status = 405
    code = "method_not_allowed"


class RequestTimedOut(ClientError):
    """The client did not finish sending its request in time."""

    status = 408
    code = "request_timeout"


class BodyTooLarge(ClientError):
    """The request body is longer than `server.max_body_bytes`."""

    status = 413
    code = "body_too_large"


class QuotaExceeded(ClientError):
    """A limit of the caller's is used up for now."""

    status = 429
    code = "quota_exceeded"
    type = "rate_limit_error"


class TooManyConnections(GatewayError):
    """The gateway, or this client, has as many connections as the configuration allows."""

    status = 503
    code = "too_many_connections"
    log_level = "warning"

    @property
    def public_message(self) -> str:
        """The message as it is."""
        return self.message


class NoReplicaAvailable(GatewayError):
    """No replica can take this call now; the message names the model and the reason, never an address."""

    status = 503
    code = "no_replica_available"
    log_level = "warning"

    @property
    def public_message(self) -> str:
        """The message as it is."""
        return self.message


class QueueTimeout(GatewayError):
    """The call waited for an engine as long as it may; the message names the model and how long, never an address."""

    status = 504
    code = "queue_timeout"
    log_level = "warning"

    @property
    def public_message(self) -> str:
        """The message as it is."""
        return self.message


class UpstreamError(GatewayError):
    """An engine failed us. `message` is for the log."""

    status = 502
    code = "upstream_error"
    log_level = "warning"
    text: ClassVar[str] = "The engine failed to answer this request."

    @property
    def public_message(self) -> str:
        """A fixed text of the class: what the engine said is for the log."""
        return self.text


class UpstreamUnreachable(UpstreamError):
    """No connection, or one that died before the first byte of an answer."""

    code = "upstream_unreachable"
    retryable = True
    text = "The engine could not be reached."


class UpstreamOverloaded(UpstreamError):
    """The engine says that its queue is full or that it is draining.

    Attributes:
        asked_seconds: for how long the engine itself asked not to be called (`Retry-After`); None if it did not say.
    """

    status = 503
    code = "upstream_overloaded"
    retryable = True
    text = "The engine is overloaded; try again later."
    asked_seconds: float | None = None


class UpstreamTimeout(UpstreamError):
    """No first byte, or no next byte, within the limit."""

    status = 504
    code = "upstream_timeout"
    retryable = True
    text = "The engine did not answer in time."


class UpstreamBroken(UpstreamError):
    """The answer is not valid HTTP or not a valid answer, or it was cut short."""

    code = "upstream_broken"
    text = "The engine's answer was broken off or unreadable."


class EmptyAnswer(UpstreamError):
    """A whole answer with nothing in it, where the configuration wants another replica to be asked then."""

    code = "empty_answer"
    retryable = True
    log_level = "info"


class UpstreamRefused(UpstreamError):
    """The engine refused the request itself (4xx); asking another replica would not help.

    Args:
        message: the engine's own words, already cleaned of addresses and paths.
        engine_status: the engine's status code, passed on.
        engine_type: `error.type` as the engine gave it, if it did.
    """

    code = "upstream_refused"
    type = "invalid_request_error"
    log_level = "info"

    def __init__(
        self, message: str, *, engine_status: int, engine_type: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.engine_status = engine_status
        self.engine_type = engine_type

    @property
    def public_message(self) -> str:
        """The message as it is."""
        return self.message


class ContextTooLong(UpstreamRefused):
    """Prompt and answer are longer than this replica takes; one with a longer context may take them.

    Args:
        message: the engine's own words, already cleaned of addresses and paths.
    """

    status = 400
    code = "context_length_exceeded"
    retryable = True

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message, engine_status=self.status, param=param)


class PolicyFailed(GatewayError):
    """A policy crashed; the call is refused, because a policy that cannot decide must not be skipped."""

    code = "policy_failed"
