"""Live experiments: calls are split between arms by chance, observed, judged, and an arm that is bad is left by itself."""
