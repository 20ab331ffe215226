"""A fake engine with scripted faults, run as a process of its own; it imports nothing of moegate."""
