"""How each kind of engine is spoken to; one file or folder an engine, only the differences."""
