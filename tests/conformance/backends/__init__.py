"""The cases that every kind of engine is put to through a gateway, and what each engine says that it cannot do."""
