"""What the admin API of experiments refuses."""

from __future__ import annotations

from gateway.errors import ClientError, GatewayError


class ExperimentNotFound(ClientError):
    """No experiment has this name."""

    status = 404
    code = "experiment_not_found"


class ExperimentRefused(ClientError):
    """It cannot be declared so."""

    status = 400
    code = "invalid_experiment"


class ExperimentsUnkept(GatewayError):
    """The database cannot be written now."""

    status = 503
    code = "experiments_unkept"
    log_level = "warning"

    @property
    def public_message(self) -> str:
        """The message as it is."""
        return self.message
