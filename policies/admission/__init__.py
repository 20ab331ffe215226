"""May this call run? One file a policy."""
