"""Unit tests of the launchers."""
