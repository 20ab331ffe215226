"""Starts SGLang without a GPU, and says the flags that its fork in KTransformers wants too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from backends.environments import engine_python
from backends.launchers import local_engine
from gateway import LaunchPlan, LaunchSettings

# A share of all memory that SGLang could take for keys and values; what it does take is said in tokens.
MEMORY_SHARE = "0.1"


class SGLangLaunch(local_engine.LocalEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SGLang's own settings.

    Attributes:
        dtype: float32 where the CPU has no bf16 instructions.
        kv_cache_tokens: tokens of all calls together whose keys and values fit; all of it is taken at once.
        max_queued: calls that may wait in the engine beyond `max_concurrent`; it refuses more of them.
    """

    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    kv_cache_tokens: Annotated[int, Meta(ge=64)] = 32_768
    max_queued: Annotated[int, Meta(ge=1)] | None = None


class SGLangLauncher:
    """Starts the HTTP server; scheduler and detokenizer are processes below it."""

    settings: type[LaunchSettings] = SGLangLaunch

    def plan(self, launch: SGLangLaunch, *, served_model: str, max_concurrent: int) -> LaunchPlan:
        """Return what to run.

        Raises:
            ConfigError: the environment or the model folder is missing.
        """
        model = local_engine.model_folder(launch)
        command = [
            str(engine_python("sglang")),
            *server_words(launch, model, served_model, max_concurrent),
            *("--grammar-backend", "xgrammar"),
        ]
        return local_engine.plan(command, launch, server_environment(launch))


def server_words(launch: SGLangLaunch, model: Path, served_model: str, max_concurrent: int) -> list[str]:
    """What both servers are told, from `-m` on."""
    queue = [] if launch.max_queued is None else ["--max-queued-requests", str(launch.max_queued)]
    return [
        *("-m", "sglang.launch_server"),
        *("--model-path", str(model), "--served-model-name", served_model),
        *("--device", "cpu", "--attention-backend", "torch_native", "--disable-overlap-schedule"),
        *("--dtype", launch.dtype),
        *("--context-length", str(launch.context_length)),
        *("--mem-fraction-static", MEMORY_SHARE, "--max-total-tokens", str(launch.kv_cache_tokens)),
        *("--max-running-requests", str(max_concurrent)),
        *queue,
        *("--tool-call-parser", "kimi_k2"),
        *("--enable-metrics", "--enable-cache-report"),
    ]


def server_environment(launch: SGLangLaunch) -> dict[str, str]:
    """The variables of both servers."""
    return {
        **local_engine.PYTHON_ENVIRONMENT,
        "SGLANG_USE_CPU_ENGINE": "1",
        "TORCH_COMPILE_DISABLE": "1",
        "OMP_NUM_THREADS": str(launch.threads),
    }
