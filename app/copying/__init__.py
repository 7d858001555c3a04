"""Copy threads from one database to another, and compare the databases."""

from threadlog.copying.copy import Copied, Fault, compare_databases, copy_database

__all__ = ["Copied", "Fault", "compare_databases", "copy_database"]
