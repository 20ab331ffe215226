"""The history of the tests' own tables; `widen` rebuilds on SQLite a table that others point to."""
