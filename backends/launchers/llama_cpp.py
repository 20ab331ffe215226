"""Starts llama.cpp's server, which reads one GGUF file instead of a model folder."""

from __future__ import annotations

from pathlib import Path

from backends.environments import engine_python
from backends.launchers import local_engine
from backends.launchers.prepared_weights import prepared_weights
from gateway import LaunchPlan, LaunchSettings
from gateway.errors import ConfigError

GGUF_SUFFIX = ".gguf"
# A connection holds one while it is open: those of calls, those that gateways keep for the next call, and probes. With fewer, new
# ones are not answered, and a server that has calls enough looks dead.
HTTP_THREADS_A_CALL, SPARE_HTTP_THREADS = 2, 8


class LlamaCppLaunch(local_engine.LocalEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """llama.cpp's own settings.

    Attributes:
        gguf: the file to serve; unset, the one that `prepare_weights.py` made of `model`. `model` may also name a GGUF file itself.
    """

    gguf: Path | None = None


class LlamaCppLauncher:
    """Starts the server with as many slots as calls are placed there, each with the whole context."""

    settings: type[LaunchSettings] = LlamaCppLaunch

    def plan(self, launch: LlamaCppLaunch, *, served_model: str, max_concurrent: int) -> LaunchPlan:
        """Return what to run.

        Raises:
            ConfigError: the environment, the model or its GGUF file is missing.
        """
        command = [
            str(engine_python("llama-cpp").with_name("llama-server")),
            *("--model", str(_gguf(launch)), "--alias", served_model),
            *("--parallel", str(max_concurrent)),
            *("--ctx-size", str(launch.context_length * max_concurrent)),
            *("--threads", str(launch.threads), "--threads-batch", str(launch.threads)),
            *("--threads-http", str(HTTP_THREADS_A_CALL * max_concurrent + SPARE_HTTP_THREADS)),
            *("--jinja", "--metrics", "--slots", "--no-ui", "--offline"),
        ]
        return local_engine.plan(command, launch, {})


def _gguf(launch: LlamaCppLaunch) -> Path:
    named = launch.gguf or (launch.model if launch.model.suffix == GGUF_SUFFIX else None)
    if named is None:
        return prepared_weights(local_engine.model_folder(launch), "gguf", "gguf") / "model.gguf"
    if not named.is_file():
        raise ConfigError(f"there is no GGUF file {named}")
    return named.resolve()
