"""The two arms: what a call is pinned to, in the words of `x-moegate-pin`; and the order in which they are asked."""

from __future__ import annotations

import random
import re
from array import array
from collections.abc import Iterator
from typing import Literal, NamedTuple

from msgspec import Struct

from gateway.errors import ConfigError

ArmName = Literal["a", "b"]
ARMS: tuple[ArmName, ArmName] = ("a", "b")

# As `pin` reads its header.
_PIN = re.compile(r"(replica|backend)=([A-Za-z0-9._:/-]{1,128})")


class Arm(Struct, frozen=True):
    """What `--a` or `--b` names: `backend=vllm`, or `replica=NAME`."""

    kind: str
    name: str

    @property
    def pin(self) -> str:
        """The value of the header."""
        return f"{self.kind}={self.name}"


def parse_arm(option: str, text: str) -> Arm:
    """Read `--a` or `--b`.

    Raises:
        ConfigError: it is neither `backend=NAME` nor `replica=NAME`.
    """
    found = _PIN.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{option}: {text!r} is neither backend=NAME nor replica=NAME")
    return Arm(found[1], found[2])


class Ask(NamedTuple):
    """One call of one arm: `call` is its number in the data, `copy` tells an arm's second asking (the null arm) from its first."""

    call: int
    repeat: int
    copy: int
    arm: ArmName


class Order(Struct, frozen=True, kw_only=True):
    """All asks of a run, shuffled by a seed. Both arms of a pair follow each other, in an order that is drawn too.

    With a null arm each arm is asked twice, not A alone: else A's engine would have twice B's load, and its latencies would not
    compare.
    """

    calls: int
    repeats: int
    copies: int
    seed: int

    def __len__(self) -> int:
        """How many asks there are."""
        return self.calls * self.repeats * self.copies * len(ARMS)

    def __iter__(self) -> Iterator[Ask]:
        """Each of them once; the same ones in the same order for the same seed."""
        pairs = array("L", range(self.calls * self.repeats * self.copies))
        chance = random.Random(self.seed)  # noqa: S311 (an order, not a secret)
        chance.shuffle(pairs)
        for pair in pairs:
            rest, copy = divmod(pair, self.copies)
            call, repeat = divmod(rest, self.repeats)
            for arm in ARMS if chance.random() < 0.5 else reversed(ARMS):  # noqa: PLR2004 (a fair coin)
                yield Ask(call, repeat, copy, arm)
