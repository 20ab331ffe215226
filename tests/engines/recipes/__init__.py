"""Feeds the recipes' command lines to the engines' own argument parsers."""
