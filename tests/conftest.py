"""The real parts that any test may ask for; each starts with the first test that does, and once a session."""

from tests.support.postgres import database_url, postgres, postgres_database, postgres_url, sqlite_url
from tests.support.valkey import shared_valkey, valkey_store

__all__ = [
    "database_url",
    "postgres",
    "postgres_database",
    "postgres_url",
    "shared_valkey",
    "sqlite_url",
    "valkey_store",
]
