"""What is out there and how it feels: pools, replicas, health. Decides nothing about where a call goes."""
