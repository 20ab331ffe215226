"""Script calls on their way to the servers that have their keys: sent together, waited for together."""

from __future__ import annotations

from collections.abc import Sequence

from libvalkey import pack_command

from plugins.valkey_store import script
from plugins.valkey_store.link import Link
from plugins.valkey_store.wire import Lost, Replies, Wire


class Command:
    """One script call.

    Attributes:
        link: the way to the server that has the key.
        wire: the connection by which it was sent last.
        whole: send the script itself, because the server does not have it.
        asking: tell the server that its slot is on the move and that we know.
    """

    __slots__ = ("arguments", "asking", "key", "link", "reply", "whole", "wire")

    def __init__(self, key: bytes, arguments: tuple[str | int, ...], link: Link) -> None:
        self.key = key
        self.arguments = arguments
        self.link = link
        self.wire: Wire | None = None
        self.reply: object = None
        self.whole = False
        self.asking = False

    def pack(self) -> bytes:
        """The bytes to send."""
        how = ("EVAL", script.SOURCE) if self.whole else ("EVALSHA", script.DIGEST)
        packed = pack_command((*how, 1, self.key, *self.arguments))
        return pack_command(("ASKING",)) + packed if self.asking else packed


async def send(commands: Sequence[Command], until: float) -> None:
    """Send each command to its server, and put the replies into them.

    Raises:
        Lost: not all have come by that time of the loop's; servers that kept us waiting are distrusted.
    """
    by_wire: dict[Wire, list[int]] = {}
    for place, command in enumerate(commands):
        command.reply = None
        command.wire = command.link.wire or await command.link.ready(until)
        by_wire.setdefault(command.wire, []).append(place)
    replies = Replies(2 * len(commands))
    for wire, places in by_wire.items():
        packed, awaited = [], []
        for place in places:
            packed.append(commands[place].pack())
            if commands[place].asking:
                awaited.append(place + len(commands))  # the reply to ASKING, which comes first, and says nothing
            awaited.append(place)
        wire.send(b"".join(packed), replies, awaited)
    in_time = await replies.wait(until)
    for command, reply in zip(commands, replies.values, strict=False):
        command.reply = reply
    if not in_time:
        for command in commands:
            if command.reply is None and command.wire is not None:
                command.link.distrust(command.wire, "it did not answer in time")
        raise Lost("no answer in time")
