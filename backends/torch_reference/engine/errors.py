"""What a client is told when a request fails, in OpenAI's error shape, without paths; and the error of not starting."""

import msgspec


class StartError(Exception):
    """The engine cannot start, and why: for the operator, so a path may be named."""


class ErrorDetail(msgspec.Struct):
    """The inside of an error body."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct):
    """An error body as OpenAI's API shapes it."""

    error: ErrorDetail


class ApiError(Exception):
    """A failure with a status and a text meant for the client."""

    status = 500
    type = "server_error"
    code: str | None = "internal_error"
    retry_after_seconds: int | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        """Keep the text for the client and, where one parameter is to blame, its name."""
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code

    def body(self) -> bytes:
        """Return the JSON body."""
        return msgspec.json.encode(ErrorBody(ErrorDetail(self.message, self.type, self.param, self.code)))


class InvalidRequest(ApiError):
    """The request cannot be served as it is written."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class NotFound(ApiError):
    """No such route."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(ApiError):
    """The request names a model that is not served here."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"


class QueueFull(ApiError):
    """Too many requests wait already."""

    status = 503
    type = "overloaded_error"
    code = "queue_full"
    retry_after_seconds = 1


class Unavailable(ApiError):
    """The engine takes no more requests."""

    status = 503
    type = "overloaded_error"
    code = "shutting_down"


class EngineFailure(ApiError):
    """The engine failed at a valid request; the reason goes to the engine's own log, not to the client."""


class HttpFailure(ApiError):
    """A refusal of the HTTP layer (method, body size), kept in the same shape."""

    type = "invalid_request_error"

    def __init__(self, status: int, message: str) -> None:
        """Keep the status that the HTTP layer chose."""
        super().__init__(message, code="http_error")
        self.status = status
