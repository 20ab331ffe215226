"""Builds a runtime from settings and a registry; knows no extension by name and finds every fault before it gives up."""
