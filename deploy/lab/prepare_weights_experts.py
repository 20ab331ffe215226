"""Writes a model's experts in a form that KTransformers' kernels read; runs in KTransformers' environment.

FP8 is how Kimi K2 Instruct ships (blocks of 128 by 128), RAWINT4 how Kimi K2 Thinking does (groups of 32): both are plain tensors,
rounded here. AMXINT8 and AMXINT4 are the kernels' own packed form, which only the kernels can write, on a CPU with AVX512.
BF16 needs nothing of this: there the kernels read the model as it is.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]

FP8_BLOCK = 128
FP8_LARGEST = torch.finfo(torch.float8_e4m3fn).max
INT4_GROUP = 32
INT4_LARGEST = 7
INT4_ZERO = 8  # four bits without a sign: 0 stands for -8
EXIT_NOT_SUPPORTED = 3
MATRICES = ("gate_proj", "up_proj", "down_proj")


class Checkpoint:
    """A model folder: its settings, and each tensor when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.settings = json.loads((folder / "config.json").read_text())
        self._files = [safe_open(path, "pt") for path in sorted(folder.glob("*.safetensors"))]
        self._file_of = {name: file for file in self._files for name in file.keys()}  # noqa: SIM118 - no mapping

    @property
    def layers(self) -> range:
        """The layers that have experts."""
        return range(self.settings["first_k_dense_replace"], self.settings["num_hidden_layers"])

    @property
    def experts(self) -> range:
        """The experts of each of them."""
        return range(self.settings["n_routed_experts"])

    def matrix(self, layer: int, expert: int, name: str) -> torch.Tensor:
        """One matrix of one expert."""
        full = f"model.layers.{layer}.mlp.experts.{expert}.{name}.weight"
        return self._file_of[full].get_tensor(full)


def fp8(matrix: torch.Tensor) -> Tensors:
    """Round to 8-bit floats, with one scale for each block."""
    rows, columns = matrix.shape
    blocks = matrix.float().reshape(rows // FP8_BLOCK, FP8_BLOCK, columns // FP8_BLOCK, FP8_BLOCK)
    scale = blocks.abs().amax(dim=(1, 3)).clamp(min=1e-12) / FP8_LARGEST
    rounded = (blocks / scale[:, None, :, None]).reshape(rows, columns).to(torch.float8_e4m3fn)
    return {"weight": rounded.contiguous(), "weight_scale_inv": scale.contiguous()}


def raw_int4(matrix: torch.Tensor) -> Tensors:
    """Round to 4-bit integers, eight to a 32-bit word, with one scale for each group of a row."""
    rows, columns = matrix.shape
    groups = matrix.float().reshape(rows, columns // INT4_GROUP, INT4_GROUP)
    scale = (groups.abs().amax(dim=2).clamp(min=1e-12) / INT4_LARGEST).to(torch.bfloat16)
    integers = (groups / scale.float()[:, :, None]).round().clamp(-INT4_LARGEST - 1, INT4_LARGEST)
    words = (integers.reshape(rows, columns // 8, 8).to(torch.int64) + INT4_ZERO) << torch.arange(0, 32, 4)
    packed = words.sum(dim=2)
    signed = torch.where(packed >= 1 << 31, packed - (1 << 32), packed).to(torch.int32)
    shape = torch.tensor([rows, columns], dtype=torch.int32)
    return {"weight_packed": signed.contiguous(), "weight_scale": scale.contiguous(), "weight_shape": shape}


def plain_tensors(
    checkpoint: Checkpoint, rounding: Callable[[torch.Tensor], Tensors]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every expert's matrices, rounded, under the names of a checkpoint that ships so."""
    for layer in checkpoint.layers:
        print(f"layer {layer}", flush=True)
        for expert in checkpoint.experts:
            for name in MATRICES:
                for part, tensor in rounding(checkpoint.matrix(layer, expert, name)).items():
                    yield f"model.layers.{layer}.mlp.experts.{expert}.{name}.{part}", tensor


def packed_by_kernels(checkpoint: Checkpoint, folder: Path, method: str) -> None:
    """Let the kernels round and write, layer by layer."""
    import kt_kernel  # noqa: PLC0415 - only these forms need it, and it refuses CPUs that the others are for

    if kt_kernel.__cpu_variant__ == "avx2":
        print(f"{method} needs a CPU with AVX512; on this one KTransformers runs BF16, FP8 and RAWINT4")
        sys.exit(EXIT_NOT_SUPPORTED)
    settings = checkpoint.settings
    for layer in checkpoint.layers:
        print(f"layer {layer}", flush=True)
        stacks = [
            torch.stack([checkpoint.matrix(layer, expert, name) for expert in checkpoint.experts]).to(torch.bfloat16)
            for name in MATRICES
        ]
        wrapper = kt_kernel.KTMoEWrapper(
            layer_idx=layer,
            num_experts=len(checkpoint.experts),
            num_experts_per_tok=settings["num_experts_per_tok"],
            hidden_size=settings["hidden_size"],
            moe_intermediate_size=settings["moe_intermediate_size"],
            gpu_experts_mask=None,
            cpuinfer_threads=1,
            threadpool_count=1,
            weight_path=str(folder),
            chunked_prefill_size=512,
            cpu_save=True,
            method=method,
        )
        wrapper.load_weights_from_tensors(*stacks, torch.arange(len(checkpoint.experts), dtype=torch.int64))


def main(model: Path, folder: Path, method: str) -> None:
    """Write one form."""
    checkpoint = Checkpoint(model)
    roundings = {"FP8": fp8, "RAWINT4": raw_int4}
    if method in roundings:
        save_file(dict(plain_tensors(checkpoint, roundings[method])), folder / "experts.safetensors")
    else:
        packed_by_kernels(checkpoint, folder, method)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
