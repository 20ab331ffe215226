"""The torch_reference backend: how moegate speaks to its own reference engine, which runs apart and is never imported."""
