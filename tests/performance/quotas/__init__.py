"""The proofs that quotas, ledger and engines agree, on real processes: `python -m tests.performance.quotas`."""
