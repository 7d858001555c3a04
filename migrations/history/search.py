"""The versions of the search index, frozen; see `threadlog.migrations.history.definitions`."""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ColumnCollectionConstraint
from sqlalchemy.sql.compiler import DDLCompiler

from threadlog.migrations.history.definitions import (
    MYSQL,
    POSTGRESQL,
    Definitions,
    Index,
    Items,
    bytewise,
    identifier,
    version_column,
)

_VERSION_TABLE: Final = "threadlog_search_version"
_TABLE: Final = "threadlog_search"
_THREADS: Final = "cubepi_threads"
_WORDS: Final = "threadlog_search_words"
_TEXT_INDEX: Final = "ix_threadlog_search_text"
_VECTOR: Final = (
    "to_tsvector('simple'::regconfig, regexp_replace(text, '[!-/:-@[-`{-~]+', ' ', 'g'))"
)


class _FullTextKey(ColumnCollectionConstraint):
    """A FULLTEXT index of MySQL; created later than its table, it would rebuild it, and warn."""

    inherit_cache = True


@compiles(_FullTextKey, *MYSQL)
def _key(element: _FullTextKey, compiler: DDLCompiler, **kw: Any) -> str:
    return f"FULLTEXT KEY {element.name!s} ({', '.join(column.name for column in element.columns)})"


def _newest(dialect: str) -> dict[str, Items]:
    """Return the tables of the newest version."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    word = sa.String(32).with_variant(postgresql.TEXT(), POSTGRESQL)
    time = sa.TIMESTAMP().with_variant(postgresql.TIMESTAMP(timezone=True), POSTGRESQL)
    now = sa.text("CURRENT_TIMESTAMP")
    long_text = mysql.LONGTEXT(collation="utf8mb4_unicode_ci")
    text = sa.Text().with_variant(long_text, *MYSQL).with_variant(bytewise(), POSTGRESQL)
    return {
        _VERSION_TABLE: [version_column()],
        _TABLE: [
            sa.Column("id", number, sa.Identity(), primary_key=True),
            sa.Column("thread_id", identifier(), nullable=False),
            sa.Column("seq", sa.BigInteger, nullable=False),
            sa.Column("place", sa.Integer, nullable=False),
            sa.Column("kind", word, nullable=False),
            sa.Column("created_at", time, server_default=now, nullable=False),
            sa.Column("role", word, nullable=True),
            sa.Column("text", text, nullable=True),
            sa.Column("model", identifier(), nullable=True),
            sa.Column("input_tokens", sa.BigInteger, nullable=True),
            sa.Column("output_tokens", sa.BigInteger, nullable=True),
            sa.Column("cache_read_tokens", sa.BigInteger, nullable=True),
            sa.Column("cache_write_tokens", sa.BigInteger, nullable=True),
            sa.Column("cost", sa.Double, nullable=True),
            sa.Column("tool_name", identifier(), nullable=True),
            sa.UniqueConstraint("thread_id", "seq", "place", name="uq_threadlog_search_place"),
            sa.ForeignKeyConstraint(["thread_id"], [f"{_THREADS}.thread_id"], ondelete="CASCADE"),
            *([_FullTextKey("text", name=_TEXT_INDEX)] if dialect in MYSQL else []),
        ],
    }


def _full_text(dialect: str) -> Index:
    prefix = {f"{dialect}_prefix": "FULLTEXT"}
    return Index(_TEXT_INDEX, _TABLE, ("text",), 1, dialect, prefix, with_table=True)


SEARCH: Final = Definitions(
    versions=range(1, 2),
    version_table=_VERSION_TABLE,
    newest=_newest,
    all_indexes=(
        Index("ix_threadlog_search_created", _TABLE, ("created_at",), since=1),
        Index("ix_threadlog_search_model", _TABLE, ("model", "created_at"), since=1),
        Index("ix_threadlog_search_tool", _TABLE, ("tool_name", "created_at"), since=1),
        *map(_full_text, MYSQL),
        Index(
            _TEXT_INDEX,
            _TABLE,
            (sa.text(_VECTOR),),
            since=1,
            dialect=POSTGRESQL,
            options={"postgresql_using": "gin"},
        ),
    ),
    upgraded_by="the migrations that created the tables",
    refers_to=_THREADS,
    sqlite_tables=(_WORDS,),
    sqlite_statements=(
        (
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {_WORDS} USING fts5"
            "(text, content='threadlog_search', content_rowid='id')"
        ),
        (
            f"CREATE TRIGGER IF NOT EXISTS {_WORDS}_insert AFTER INSERT ON {_TABLE} "
            f"BEGIN INSERT INTO {_WORDS} (rowid, text) VALUES (new.id, new.text); END"
        ),
        (
            f"CREATE TRIGGER IF NOT EXISTS {_WORDS}_delete AFTER DELETE ON {_TABLE} "
            f"BEGIN INSERT INTO {_WORDS} ({_WORDS}, rowid, text) "
            "VALUES ('delete', old.id, old.text); END"
        ),
        f"INSERT INTO {_WORDS} ({_WORDS}) VALUES ('rebuild')",
    ),
)
"""Text, tools and tokens of messages, of version 1."""

FULL_TEXT_TABLES: Final = frozenset(
    f"{_WORDS}{suffix}" for suffix in ("", "_config", "_content", "_data", "_docsize", "_idx")
)
"""SQLite's virtual table, and the tables in which SQLite keeps it."""
