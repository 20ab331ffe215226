"""Tests against real engines; `make test-engines` installs them first."""
