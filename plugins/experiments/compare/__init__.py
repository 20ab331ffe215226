"""Offline comparison of two backends: the same calls asked of both through a gateway, and a report of what differs."""
