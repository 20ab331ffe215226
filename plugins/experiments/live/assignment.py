"""Which unit a call is of, and which arm a unit gets: by a keyed hash, so that it keeps it and nobody can choose it.

Each arm draws an exponential time with its weight as rate, from a hash of the unit and the arm's name; the first wins (weighted
rendezvous: Thaler & Ravishankar, IEEE/ACM Transactions on Networking 6, 1998; weights by Efraimidis & Spirakis, Information
Processing Letters 97, 2006). When weights change, units move to the arms that grew or from those that shrank, and no others.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw, Struct

from gateway import Call
from plugins.experiments.live.settings import Unit

# A longer conversation is known by its beginning alone.
_MOST_BYTES = 262_144
_MASK = (1 << 64) - 1
_SPAN = float(1 << 64)


class _Spoken(Struct):
    role: str = ""


_MESSAGES = msgspec.json.Decoder(list[Raw])
_ROLE = msgspec.json.Decoder(_Spoken)


class Split:
    """The arms of one experiment.

    Args:
        key: of the hash, up to 64 bytes.
        arms: names and weights; 0 is never drawn.
    """

    def __init__(self, key: bytes, arms: Sequence[tuple[str, float]]) -> None:
        self._key = key
        drawn = [(at, name, weight) for at, (name, weight) in enumerate(arms) if weight > 0]
        whole = sum(weight for _, _, weight in drawn)
        self._arms = [(at, _number(name.encode()), 1.0 / weight, weight / whole) for at, name, weight in drawn]

    def draw(self, unit: bytes) -> tuple[int, float]:
        """The arm's place in the list, and the chance with which a unit gets it."""
        of_unit = int.from_bytes(hashlib.blake2b(unit, digest_size=8, key=self._key).digest(), "big")
        least, chosen, chance = math.inf, 0, 0.0
        for at, of_arm, scale, share in self._arms:
            # One hash a call; the arms' numbers are mixed in as SplitMix64 does (Steele et al., OOPSLA 2014), for half its price.
            mixed = of_unit ^ of_arm
            mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
            mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _MASK
            # Never 0, whose logarithm there is not.
            time = -math.log(((mixed ^ (mixed >> 31)) + 1) / (_SPAN + 1)) * scale
            if time < least:
                least, chosen, chance = time, at, share
        return chosen, chance


def _number(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")


def key_of(secret: str, experiment: str) -> bytes:
    """The hash's key: of another experiment, another one, so that arms of two are drawn independently."""
    return hashlib.blake2b(experiment.encode(), digest_size=32, key=hashlib.sha256(secret.encode()).digest()).digest()


def unit_reader(unit: Unit, session_header: str) -> Callable[[Call], bytes | None]:
    """Tells which unit a call is of; None for none, as without the header or the user."""
    header = session_header.encode()

    def session(call: Call) -> bytes | None:
        named = next((value for name, value in call.headers if name == header and value), None)
        return None if named is None else _of_tenant(call, named)

    def end_user(call: Call) -> bytes | None:
        return _of_tenant(call, call.user.encode()) if call.user else None

    readers: dict[Unit, Callable[[Call], bytes | None]] = {
        Unit.TENANT: lambda call: call.principal.tenant.encode(),
        Unit.KEY: lambda call: call.principal.key_id.encode(),
        Unit.END_USER: end_user,
        Unit.SESSION: session,
        Unit.CONVERSATION: _conversation,
        Unit.CALL: lambda call: call.call_id.encode(),
    }
    return readers[unit]


def _of_tenant(call: Call, name: bytes) -> bytes:
    """Names that callers give are theirs: another tenant's are others."""
    return b"%b\0%b" % (call.principal.tenant.encode(), name)


def _conversation(call: Call) -> bytes | None:
    """All up to the first thing that its user said: what each later turn repeats. A call without messages is its own."""
    messages = call.fields.get("messages")
    if messages is None:
        return call.call_id.encode()
    text = bytes(memoryview(messages)[:_MOST_BYTES])
    if len(text) == _MOST_BYTES:
        return _of_tenant(call, hashlib.blake2b(text, digest_size=16).digest())
    digest = hashlib.blake2b(digest_size=16)
    try:
        for message in _MESSAGES.decode(text):
            digest.update(message)
            if _ROLE.decode(message).role == "user":
                break
    except msgspec.DecodeError:  # no list of objects: the engine will say so
        return None
    return _of_tenant(call, digest.digest())
