"""What the configuration may say of the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

MEBIBYTE = 2**20


class LedgerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How calls are kept.

    Attributes:
        path: the journal's folder, on a disk of this machine; several gateways may name the same.
        segment_bytes: how long one of its files may grow.
        max_bytes: how much of one gateway's journal may wait for the database.
        min_free_bytes: how much of the disk must stay free.
        on_full: once there is no more room: `refuse` new calls, or serve them and `drop` what cannot be written.
        fsync: when the disk itself is asked to have written: after each call, every `fsync_seconds`, or never. A killed
            process loses nothing either way; what a power cut costs is in the README.
        ship_seconds: how often calls are taken to the database.
        batch_rows: how many at once.
        stop_seconds: how long a stop may wait for the last of them to be taken there.
        retention_days: how long calls are kept one by one; for ever if null. Daily sums stay.
        user_retention_days: how long daily sums by end user are kept; for ever if null.
    """

    path: Path = msgspec.field(default_factory=lambda: Path(".moegate/ledger"))
    segment_bytes: Annotated[int, Meta(ge=65_536, le=256 * MEBIBYTE)] = 16 * MEBIBYTE
    max_bytes: Annotated[int, Meta(ge=262_144)] = 4_096 * MEBIBYTE
    min_free_bytes: Annotated[int, Meta(ge=0)] = 256 * MEBIBYTE
    on_full: Literal["refuse", "drop"] = "refuse"
    fsync: Literal["never", "interval", "always"] = "interval"
    fsync_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    ship_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    batch_rows: Annotated[int, Meta(ge=1, le=10_000)] = 500
    stop_seconds: Annotated[float, Meta(ge=0, le=60)] = 5.0
    retention_days: Annotated[int, Meta(ge=1)] | None = 90
    user_retention_days: Annotated[int, Meta(ge=1)] | None = 400
