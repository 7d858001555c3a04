"""The framework's own backends of servers, and their tables as the framework creates them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import pytest
from sqlalchemy import Connection, text

from tests.frameworks.framework import Framework
from tests.support.databases import SERVERS


@dataclass(frozen=True)
class Backend:
    """The differences between the framework's backends of servers."""

    checkpointer: str
    """The name of its class, which is also that of ours."""

    partitions: Callable[[Any], Sequence[str]]
    """Returns the scripts that make partitions, from its helpers."""

    first_prompt: int
    """The most statements that an agent's first prompt takes on our backend, BEGIN included."""

    about_nul: Callable[[], AbstractContextManager[object]] = nullcontext
    """Expects what the database says about U+0000 in JSON: PostgreSQL's JSONB lacks it."""


BACKENDS: Final[Mapping[str, Backend]] = {
    "mysql": Backend(
        "MySQLCheckpointer",
        lambda helpers: [
            f"ALTER TABLE cubepi_messages {helpers.messages_partition_clause()}",
            f"ALTER TABLE cubepi_runs {helpers.runs_partition_clause()}",
        ],
        20,
    ),
    "postgres": Backend(
        "PostgresCheckpointer",
        lambda helpers: [
            helpers.create_message_partitions_op(),
            helpers.create_runs_partitions_op(),
        ],
        25,
        lambda: pytest.raises(Exception, match="unsupported Unicode escape sequence"),
    ),
}
"""By the name of the database. The framework has none of MariaDB's own."""

TESTED: Final = tuple(name for name in SERVERS if name in BACKENDS)
"""The names of those that are tested in this run."""


def create_their_schema(framework: Framework, name: str, connection: Connection) -> None:
    """Create the tables by the models and helpers of the framework's backend."""
    models = framework.module(f"checkpointer.{name}.models")
    helpers = framework.module(f"checkpointer.{name}.alembic_helpers")
    getattr(models, f"{framework.name}_metadata").create_all(connection)
    for script in (*BACKENDS[name].partitions(helpers), helpers.write_schema_version_op()):
        for statement in script.rstrip("; ").split(";"):
            connection.execute(text(statement))
