"""The bench kit: load, accounting and reports; its tests assert what was counted, never how long it took."""
