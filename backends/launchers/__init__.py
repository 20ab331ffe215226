"""How the gateway starts each engine on a machine without a GPU: a file an engine, its settings and its plan; starts nothing."""
