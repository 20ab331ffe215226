"""What several routing policies learn in common, so that each attempt is learnt from once: pace, and what caches hold."""
