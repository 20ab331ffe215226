"""Tests of the reference engine as a process of its own, over HTTP."""
