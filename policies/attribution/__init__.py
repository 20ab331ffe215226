"""What must be shown for the weights that serve? One file a policy."""
