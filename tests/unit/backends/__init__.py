"""Unit tests of the backends."""
