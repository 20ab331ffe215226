"""Train k2-tiny on a few CPU cores. Stop it at any time; the same command goes on from the last checkpoint."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from checkpoint import load_state, save_state
from corpus import training_conversations
from network import MoE, Network, Shape
from optimiser import Optimiser
from probe import report
from rendering import Encoder
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids and the loss weight of each."""

    tokens: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Stage:
    """What the text looks like up to a point of the training, given as a share of all tokens.

    In one conversation of six, what the assistant did not write counts too, with `other_weight`.
    """

    until: float
    tool_share: float
    copy_share: float
    other_weight: float


STAGES = [
    Stage(until=0.15, tool_share=0.10, copy_share=1.00, other_weight=0.30),
    Stage(until=0.28, tool_share=0.40, copy_share=0.50, other_weight=0.30),
    Stage(until=0.55, tool_share=0.70, copy_share=0.05, other_weight=0.15),
    Stage(until=1.00, tool_share=0.74, copy_share=0.00, other_weight=0.10),
]


def stage_at(progress: float) -> Stage:
    """The stage at this share of the training."""
    return next((stage for stage in STAGES if progress < stage.until), STAGES[-1])


def pool(encoder: Encoder, seed: int, stage: Stage, room: int, longest: int, size: int = 768) -> list[Batch]:
    """Batches of conversations of like length, in random order."""
    items = []
    rng = random.Random(seed)  # noqa: S311
    stream = training_conversations(seed, tool_share=stage.tool_share, copy_share=stage.copy_share)
    for conversation in islice(stream, size):
        ids, weights = encoder.train_item(conversation, stage.other_weight if rng.random() < 1 / 6 else 0.0)
        if len(ids) <= longest:
            items.append((ids, weights))
    items.sort(key=lambda item: len(item[0]))
    batches: list[Batch] = []
    while items:
        width = len(items[-1][0])
        rows = items[-max(1, room // width) :]
        del items[-len(rows) :]
        tokens = torch.full((len(rows), width), encoder.pad)
        weights = torch.zeros(len(rows), width)
        for row, (ids, values) in enumerate(rows):
            tokens[row, : len(ids)] = torch.tensor(ids)
            weights[row, : len(ids)] = torch.tensor(values)
        batches.append(Batch(tokens, weights))
    rng.shuffle(batches)
    return batches


def rate_factor(step: int, progress: float, *, warm_up: int = 60, decay_from: float = 0.64) -> float:
    """Linear warm-up, a plateau, then a straight line down to almost nothing."""
    if step < warm_up:
        return (step + 1) / warm_up
    if progress < decay_from:
        return 1.0
    return max(0.01, (1 - progress) / (1 - decay_from))


def loss_of(network: Network, batch: Batch) -> Tensor:
    """Sum of the weighted losses of a batch."""
    weights = batch.weights[:, 1:].flatten()
    wanted = weights.nonzero().squeeze(1)
    logits = network(batch.tokens[:, :-1], wanted)
    losses = functional.cross_entropy(logits, batch.tokens[:, 1:].flatten()[wanted], reduction="none")
    return (losses * weights[wanted]).sum()


def balance(network: Network, rate: float, memory: float = 0.97) -> float:
    """Move each router's correction bias towards an even load over the last steps; returns worst load over mean."""
    worst = 0.0
    for layer in network.layers:
        if isinstance(layer.mlp, MoE):
            gate = layer.mlp.gate
            mean = gate.load.mean()
            worst = max(worst, float(gate.load.max() / mean))
            gate.e_score_correction_bias += rate * (1 - gate.load / mean).clamp(-1, 1)
            gate.load *= memory
    return worst


class Trainer:
    """Network, optimiser and counters, and the loop that drives them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.encoder = Encoder(options.model / "tokenizer.json")
        torch.manual_seed(options.seed)
        self.network = Network(Shape(vocab=self.encoder.vocab))
        self.optimiser = Optimiser(self.network, matrix_rate=options.matrix_rate, other_rate=options.other_rate)
        self.step = self.tokens = self.pools = 0
        self.seconds = 0.0
        self.state_path: Path = options.work / "state.pt"
        if self.state_path.exists():
            saved = load_state(self.state_path, self.network)
            self.optimiser.load(saved["optimiser"])
            self.step, self.tokens, self.pools = saved["step"], saved["tokens"], saved["pools"]
            self.seconds = saved["seconds"]
            print(f"going on from step {self.step}, {self.tokens} tokens", flush=True)

    @property
    def progress(self) -> float:
        """Share of the training that is done."""
        return min(1.0, self.tokens / self.options.tokens)

    def batches(self) -> Iterator[Batch]:
        """Batches without end, by the stage of the moment."""
        while True:
            stage = stage_at(self.progress)
            seed = self.options.seed * 1_000_003 + self.pools
            self.pools += 1
            yield from pool(self.encoder, seed, stage, self.options.room, self.options.longest)

    def save(self) -> None:
        """Write a checkpoint."""
        counters = {"step": self.step, "tokens": self.tokens, "pools": self.pools, "seconds": self.seconds}
        save_state(self.state_path, self.network, {**counters, "optimiser": self.optimiser.state()})

    def train_step(self, batches: list[Batch]) -> tuple[float, float]:
        """One update; returns the mean loss per weighted token and the worst load of an expert."""
        total = sum(float(batch.weights[:, 1:].sum()) for batch in batches)
        loss = 0.0
        for batch in batches:
            part = loss_of(self.network, batch) / total
            part.backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
            self.tokens += int((batch.tokens != self.encoder.pad).sum())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        factor = rate_factor(self.step, self.progress)
        self.optimiser.step(factor)
        self.network.zero_grad(set_to_none=True)
        self.step += 1
        return loss, balance(self.network, 0.001 * factor)

    def run(self) -> None:
        """Train to the end."""
        stream = self.batches()
        saved = probed = time.monotonic()
        losses: list[float] = []
        while self.progress < 1.0:
            start = time.monotonic()
            loss, worst = self.train_step([next(stream) for _ in range(self.options.parts)])
            self.seconds += time.monotonic() - start
            losses.append(loss)
            if self.step % 20 == 0:
                mean = sum(losses) / len(losses)
                speed = self.tokens / self.seconds
                print(
                    f"step {self.step} tokens {self.tokens} loss {mean:.4f} worst load {worst:.2f} "
                    f"{speed:.0f} tok/s {self.seconds:.0f} s",
                    flush=True,
                )
                losses.clear()
            if time.monotonic() - probed > self.options.probe_every:
                print(report(self.network, self.encoder), flush=True)
                probed = time.monotonic()
            if time.monotonic() - saved > self.options.save_every:
                self.save()
                saved = time.monotonic()
        self.save()
        print(report(self.network, self.encoder, count=200), flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).with_name("k2-tiny"), help="has tokenizer.json")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--tokens", type=float, default=22e6, help="tokens of the whole training")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--room", type=int, default=3000, help="tokens of one forward pass")
    parser.add_argument("--parts", type=int, default=2, help="forward passes per update")
    parser.add_argument("--longest", type=int, default=800, help="longer conversations are left out")
    parser.add_argument("--matrix-rate", type=float, default=0.012)
    parser.add_argument("--other-rate", type=float, default=0.002)
    parser.add_argument("--save-every", type=float, default=300)
    parser.add_argument("--probe-every", type=float, default=240)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    Trainer(options).run()


if __name__ == "__main__":
    main()
