"""Engines, clients and sample plugins that tests share; holds no test of its own."""
