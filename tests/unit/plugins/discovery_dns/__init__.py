"""The tests of `discovery_dns`."""
