"""Tells SGLang to compute latent attention (MLA) in its absorbed form on the `torch_native` backend, as the CPU needs it.

`torch_native` has no entry of its own in the registry and inherits one that takes the expanded form for a prompt
without a cached prefix. It then reads keys of the wrong head size from the latent cache. The absorbed form is right
for every batch.
"""


def register() -> None:
    """Add the entry."""
    from sglang.srt.models.deepseek_common.attention_backend_handler import (  # noqa: PLC0415 - the engine's own, heavy
        AttentionBackendRegistry,
    )
    from sglang.srt.models.deepseek_common.attention_forward_methods.forward_methods import (  # noqa: PLC0415
        AttnForwardMethod,
    )

    AttentionBackendRegistry.register("torch_native", lambda _attention, _batch: AttnForwardMethod.MLA)
