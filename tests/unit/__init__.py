"""Unit tests: one folder a package, the same tree as the code."""
