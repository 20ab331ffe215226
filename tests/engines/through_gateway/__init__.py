"""Real clients, a real gateway, real engines."""
