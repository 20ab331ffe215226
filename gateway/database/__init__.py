"""The SQL database of the configuration: an engine for extensions, and their tables brought up to date; knows no table itself."""

from gateway.database.histories import SchemaState
from gateway.database.sql import SqlDatabase

__all__ = ["SchemaState", "SqlDatabase"]
