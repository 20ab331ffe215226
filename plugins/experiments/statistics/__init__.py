"""The statistics of backend comparison: pure functions and small states, no I/O, nothing of the gateway; needs numpy."""
