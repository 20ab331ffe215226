"""The Lua script that is the store's whole algorithm."""

from __future__ import annotations

import hashlib
from pathlib import Path

SOURCE = Path(__file__).with_name("exchange.lua").read_bytes()
DIGEST = hashlib.sha1(SOURCE, usedforsecurity=False).hexdigest().encode()
