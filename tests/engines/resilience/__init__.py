"""Chaos with real engines, in small."""
