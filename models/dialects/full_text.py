"""Full text search: the index of each database, and one condition for all."""

import re
from typing import Any, Final

from sqlalchemy import DDL, Boolean, ColumnElement, Text, TextClause, and_, literal, text, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.schema import ColumnCollectionConstraint
from sqlalchemy.sql.compiler import DDLCompiler

from threadlog.models.dialects.ddl import TABLE_OPTIONS
from threadlog.models.dialects.names import MYSQL
from threadlog.models.dialects.template import Template

# The parser of PostgreSQL keeps addresses, numbers with a sign and words with hyphens together.
# The other databases divide them, so that here spaces take the place of ASCII punctuation.
# With translate(), which looks at each character thirty times, an index row takes thrice as long.
_PUNCTUATION: Final = "[!-/:-@[-`{{-~]+"  # a brace for `format`
_VECTOR: Final = (
    f"to_tsvector('simple'::regconfig, regexp_replace({{0}}, '{_PUNCTUATION}', ' ', 'g'))"
)

SQLITE_INDEX: Final = "threadlog_search_words"
"""SQLite's full text index of the table, a table of its own."""

_STATEMENTS: Final = {
    "postgresql": [
        f"CREATE INDEX ix_threadlog_search_text ON {{table}} USING gin ({_VECTOR.format('text')})"
    ],
    "sqlite": [
        (
            f"CREATE VIRTUAL TABLE {SQLITE_INDEX} USING fts5"
            "(text, content='threadlog_search', content_rowid='id')"
        ),
        (
            f"CREATE TRIGGER {SQLITE_INDEX}_insert AFTER INSERT ON threadlog_search "
            f"BEGIN INSERT INTO {SQLITE_INDEX} (rowid, text) VALUES (new.id, new.text); END"
        ),
        (
            f"CREATE TRIGGER {SQLITE_INDEX}_delete AFTER DELETE ON threadlog_search "
            f"BEGIN INSERT INTO {SQLITE_INDEX} ({SQLITE_INDEX}, rowid, text) "
            "VALUES ('delete', old.id, old.text); END"
        ),
    ],
}


def purge_index(dialect: str) -> TextClause | None:
    """Return the statement that removes the words of deleted rows from the index.

    None on servers. SQLite's index keeps the words of a deleted row, marked as deleted, until it
    happens to merge the part that they are in.
    """
    if dialect != "sqlite":
        return None
    return text(f"INSERT INTO {SQLITE_INDEX} ({SQLITE_INDEX}) VALUES ('optimize')")


class FullTextKey(ColumnCollectionConstraint):
    """A FULLTEXT index of MySQL and MariaDB; nothing on other databases.

    Created with its table: created later, it would rebuild the table, and warn.
    """

    inherit_cache = True


@compiles(FullTextKey)
def _no_key(element: FullTextKey, compiler: DDLCompiler, **kw: Any) -> None:
    return None


@compiles(FullTextKey, *MYSQL)
def _key(element: FullTextKey, compiler: DDLCompiler, **kw: Any) -> str:
    return f"FULLTEXT KEY {element.name!s} ({', '.join(column.name for column in element.columns)})"


def _listeners() -> list[tuple[str, Any]]:
    make: Any = DDL  # DDL has no types in SQLAlchemy 2.1
    found: list[tuple[str, Any]] = []
    for dialect, statements in _STATEMENTS.items():
        for statement in statements:
            # DDL formats its text.
            text = statement.replace("%", "%%").replace("{table}", "%(fullname)s")
            found.append(("after_create", make(text).execute_if(dialect=dialect)))
    dropping = make(f"DROP TABLE IF EXISTS {SQLITE_INDEX}").execute_if(dialect="sqlite")
    return [*found, ("before_drop", dropping)]


WITH_FULL_TEXT: Final[dict[str, Any]] = {**TABLE_OPTIONS, "listeners": _listeners()}
"""Options of the table whose column ``text`` has a full text index."""

# The words that MySQL's index leaves out: its default stopwords, short and long ones.
_STOPWORDS: Final = re.compile(
    "a|about|an|are|as|at|be|by|com|de|en|for|from|how|i|in|is|it|la|of|on|or|that|the|this|to|"
    "was|what|when|where|who|will|with|und|www"
)
_INDEXED: Final = range(3, 85)

_WORD: Final = re.compile(r"[^\W_]+")
# To MySQL's parser an underscore is a letter.
_MYSQL_WORD: Final = re.compile(r"\w+")


class _HasWords(
    Template,
    mysql="(MATCH ({0}) AGAINST ({2} IN BOOLEAN MODE))",
    postgresql=f"({_VECTOR} @@ plainto_tsquery('simple'::regconfig, {{3}}))",
    sqlite=f"({{1}} IN (SELECT rowid FROM {SQLITE_INDEX} WHERE {SQLITE_INDEX} MATCH {{4}}))",
):
    """The condition that a text has words, by the index; the row's number is the second one."""

    type = Boolean()

    def self_group(self, against: Any = None) -> Any:
        """Return the condition as it is: compared with 1, no index would be used."""
        return self


class _HasSmallWord(Template, mysql="({0} REGEXP {1})", other="(1 = 1)"):
    """The condition that a text has a word that MySQL's index leaves out."""

    type = Boolean()

    def self_group(self, against: Any = None) -> Any:
        """Return the condition as it is; see `_HasWords`."""
        return self


class _Always(Template, mysql="(1 = 1)", other="{0}"):
    """A condition on most databases, and none on MySQL and MariaDB."""

    type = Boolean()

    def self_group(self, against: Any = None) -> Any:
        """Return the condition as it is; see `_HasWords`."""
        return self


def matches(column: InstrumentedAttribute[Any], words: str) -> ColumnElement[bool]:
    """Return the condition that a text has all of the given words, by the full text index.

    Case is ignored; order, and every character that is no letter or digit, have no meaning. MySQL
    and MariaDB treat ``_`` as a letter, and ignore accents, as does SQLite. Without words the
    condition is true.

    Args:
        column: `SearchMessage.text`, also of an alias.
        words: the words, such as a person typed them.
    """
    found = [word.lower() for word in _WORD.findall(words)]
    if not found:
        return true()
    indexed: list[str] = []
    small: list[str] = []
    for word in {word.lower(): None for word in _MYSQL_WORD.findall(words) if word.strip("_")}:
        is_small = len(word) not in _INDEXED or _STOPWORDS.fullmatch(word)
        (small if is_small else indexed).append(word)
    number = column.parent.entity.id
    by_index = _HasWords(
        column,
        number,
        _text(" ".join(f"+{word}" for word in indexed)),
        _text(" ".join(found)),
        _text(" ".join(f'"{word}"' for word in found)),
    )
    patterns = [_HasSmallWord(column, _text(rf"\b{word}\b")) for word in small]
    return and_(by_index if indexed else _Always(by_index), *patterns)


def _text(value: str) -> ColumnElement[str]:
    return literal(value, Text())
