"""Starts vLLM's CPU build; `deploy/lab/engines/README.md` says why with these flags."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from backends.environments import engine_python
from backends.launchers import local_engine
from gateway import LaunchPlan, LaunchSettings

MIB = 1 << 20


class VLLMLaunch(local_engine.LocalEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """vLLM's own settings.

    Attributes:
        dtype: float32 where the CPU has no bf16 instructions, bfloat16 on one with AMX.
        kv_cache_mib: memory for keys and values; all of it is taken at once.
    """

    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    kv_cache_mib: Annotated[int, Meta(ge=16)] = 256


class VLLMLauncher:
    """Starts the OpenAI server, engine and worker in one process beside it."""

    settings: type[LaunchSettings] = VLLMLaunch

    def plan(self, launch: VLLMLaunch, *, served_model: str, max_concurrent: int) -> LaunchPlan:
        """Return what to run.

        Raises:
            ConfigError: the environment or the model folder is missing.
        """
        model = local_engine.model_folder(launch)
        command = [
            str(engine_python("vllm")),
            *("-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(model), "--served-model-name", served_model),
            *("--max-model-len", str(launch.context_length)),
            *("--max-num-seqs", str(max_concurrent)),
            *("--dtype", launch.dtype),
            *("--kv-cache-memory-bytes", str(launch.kv_cache_mib * MIB)),
            "--enforce-eager",
            *("--enable-auto-tool-choice", "--tool-call-parser", "kimi_k2"),
            "--enable-prompt-tokens-details",
        ]
        environment = {
            **local_engine.PYTHON_ENVIRONMENT,
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(launch.threads),
        }
        return local_engine.plan(command, launch, environment)
