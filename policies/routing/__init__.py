"""Where should this call run? One file a policy."""
