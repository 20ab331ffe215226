"""What the admin API and the commands refuse, beside what gateway.errors has."""

from __future__ import annotations

from gateway.errors import ClientError, GatewayError


class NotFound(ClientError):
    """There is no such tenant, team or key."""

    status = 404
    code = "not_found"


class Conflict(ClientError):
    """It is there already, or in a state that does not allow this."""

    status = 409
    code = "conflict"


class DatabaseUnavailable(GatewayError):
    """The SQL database did not answer, or refused; nothing was changed."""

    status = 503
    code = "database_unavailable"
    log_level = "warning"

    @property
    def public_message(self) -> str:
        """A fixed text: what the database said is for the log."""
        return "The database cannot be reached now; nothing was changed."


class KeysUnknown(GatewayError):
    """This node has not read the keys yet, or has not heard of the database for longer than it may."""

    status = 503
    code = "keys_unknown"
    log_level = "warning"

    @property
    def public_message(self) -> str:
        """The message as it is."""
        return self.message
