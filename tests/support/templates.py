"""SQLite files with a schema, which are copied: creating one takes longer than most tests."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import create_engine, make_url

from tests.support.databases import create_schema
from tests.support.servers.process import folder_in_memory
from threadlog.models import SchemaPart


def create_file(url: str, *parts: SchemaPart) -> str:
    """Create an SQLite file with the tables of the parts; return its URL."""
    Path(make_url(url).database or "").write_bytes(_template(parts))
    return url


@cache
def _template(parts: tuple[SchemaPart, ...]) -> bytes:
    with TemporaryDirectory(prefix="threadlog-template-", dir=folder_in_memory()) as folder:
        path = Path(folder) / "threadlog.db"
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")  # as threadlog's own files
            for part in parts:
                create_schema(connection, part)
        engine.dispose()
        return path.read_bytes()
