"""What decides: admission, routing, attribution; one file a policy."""
