"""Tests that see what users see: real clients, a real gateway process, engines that are real processes too."""
