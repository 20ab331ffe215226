"""Simulations of the statistics: false alarms under the null with a look at every step, power at the planned sizes."""
