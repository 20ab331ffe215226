"""What SGLang and KTransformers lack on a machine without a GPU; lives in their environments, and changes no file of theirs.

`install_shims.py` copies this folder into an environment as `moegate_engine_shims`, and every interpreter there calls
`activate` when it starts. That only arms hooks: torch and the engine are imported when the engine wants them.
"""

from collections.abc import Callable

from . import kernel_stub, torchvision_schemas
from .import_hooks import before_import


def activate(engine: str) -> None:
    """Arm what one engine needs.

    Raises:
        ValueError: this folder knows no such engine.
    """
    armed: dict[str, Callable[[], None]] = {"sglang": _sglang, "ktransformers": _ktransformers}
    if engine not in armed:
        raise ValueError(f"no shims for an engine {engine!r}")
    armed[engine]()


def _sglang() -> None:
    kernel_stub.install()
    before_import("torchvision", torchvision_schemas.define)
    before_import("sglang.srt.models.deepseek_v2", _register_absorbed_mla)


def _ktransformers() -> None:
    _sglang()
    # Both are imported with a torch that has no GPU behind it, by the server and by the quantiser alike.
    before_import("sglang", _fake_cuda)
    before_import("kt_kernel", _fake_cuda)
    before_import("kt_kernel.utils.amx", _keep_experts)


def _register_absorbed_mla() -> None:
    from . import absorbed_mla  # noqa: PLC0415 - it imports the engine, which must not happen when an interpreter starts

    absorbed_mla.register()


def _fake_cuda() -> None:
    from . import absent_cuda  # noqa: PLC0415 - it imports torch, which must not happen when an interpreter starts

    absent_cuda.pretend()


def _keep_experts() -> None:
    from . import kept_experts  # noqa: PLC0415 - it imports the kernels, which must not happen when an interpreter starts

    kept_experts.keep()
