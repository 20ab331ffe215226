"""Unit tests of the reference engine: what needs neither torch nor a process."""
