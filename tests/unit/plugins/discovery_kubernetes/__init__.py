"""The tests of `discovery_kubernetes`."""
