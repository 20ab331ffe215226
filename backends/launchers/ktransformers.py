"""Starts KTransformers without a GPU: its fork of SGLang with the real expert kernels, and every expert on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from backends.environments import engine_python
from backends.launchers import local_engine
from backends.launchers.prepared_weights import prepared_weights
from backends.launchers.sglang import SGLangLaunch, server_environment, server_words
from gateway import LaunchPlan, LaunchSettings
from gateway.errors import ConfigError

# What would call a GPU has a way without one, if asked; and the fork must not replace the model's settings by those it knows.
ENVIRONMENT = {
    "KT_FORCE_SYNC_SUBMIT": "1",
    "SGLANG_KT_HYBRID_NO_CPU_STREAM": "1",
    "SGLANG_OPT_BF16_FP32_GEMM_ALGO": "torch",
    "SGLANG_APPLY_CONFIG_BACKUP": "none",
}


class KTransformersLaunch(SGLangLaunch, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """KTransformers' own settings.

    Attributes:
        dtype: of all but the experts; the kernels take nothing but bf16 from it.
        method: how the experts are stored and computed. AVX2 has BF16, FP8 and RAWINT4; AMXINT8 and AMXINT4 want AVX512.
        weights: the experts in that form; unset, those that `prepare_weights.py` made. BF16 reads the model itself.
    """

    dtype: Literal["bfloat16", "auto"] = "bfloat16"
    method: Literal["BF16", "FP8", "RAWINT4", "AMXINT8", "AMXINT4"] = "BF16"
    weights: Path | None = None


class KTransformersLauncher:
    """Starts the fork's HTTP server; scheduler and detokenizer are processes below it."""

    settings: type[LaunchSettings] = KTransformersLaunch

    def plan(self, launch: KTransformersLaunch, *, served_model: str, max_concurrent: int) -> LaunchPlan:
        """Return what to run.

        Raises:
            ConfigError: the environment, the model folder or the experts' weights are missing.
        """
        model = local_engine.model_folder(launch)
        command = [
            str(engine_python("ktransformers")),
            *server_words(launch, model, served_model, max_concurrent),
            *("--grammar-backend", "llguidance", "--page-size", "1", "--disable-shared-experts-fusion"),
            *("--kt-weight-path", str(_weights(launch, model)), "--kt-method", launch.method),
            *("--kt-cpuinfer", str(launch.threads), "--kt-threadpool-count", "1", "--kt-num-gpu-experts", "0"),
        ]
        return local_engine.plan(command, launch, {**server_environment(launch), **ENVIRONMENT})


def _weights(launch: KTransformersLaunch, model: Path) -> Path:
    if launch.weights is not None:
        if not launch.weights.is_dir():
            raise ConfigError(f"weights: there is no folder {launch.weights}")
        return launch.weights.resolve()
    if launch.method == "BF16":
        return model
    return prepared_weights(model, f"ktransformers-{launch.method.lower()}", "weights")
