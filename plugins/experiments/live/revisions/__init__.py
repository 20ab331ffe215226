"""The history of the tables, one Alembic revision a file; what has been released is never changed."""
