"""The test suite; nothing here ships in the wheel."""
