"""What a client may rely on whatever engine answers, as cases that any engine can be put to."""
