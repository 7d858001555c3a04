"""MySQL in a Docker container."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.servers.command import run, say, tail
from tests.servers.error import SourceFailedError
from tests.servers.mysqld import HOST, settings
from tests.servers.readiness import greets, wait_until_ready

IMAGE: Final = "mysql:8.4"
"""The image to run."""

_START_SECONDS: Final = 180


def require_docker() -> None:
    """Check that Docker works here and has the image, which is pulled if need be.

    Raises:
        SourceFailedError: Docker is not installed, does not answer, or cannot pull.
    """
    if shutil.which("docker") is None:
        raise SourceFailedError("there is no docker on PATH")
    run(["docker", "info"], seconds=15)
    try:
        run(["docker", "image", "inspect", IMAGE], seconds=30)
    except SourceFailedError:
        say(f"pulling the Docker image {IMAGE} (some hundred MB, once) ...")
        run(["docker", "pull", "--quiet", IMAGE], seconds=900)


@contextmanager
def running_container(*, durable: bool) -> Iterator[dict[str, str]]:
    """Run MySQL in a container that goes when the block ends.

    Args:
        durable: see `settings`.

    Yields:
        The server's URL.

    Raises:
        SourceFailedError: it does not start.
    """
    container = _start(durable=durable)
    try:
        port = int(run(["docker", "port", container, "3306/tcp"], seconds=30).rpartition(":")[2])
        _wait(container, port)
        yield {"url": f"mysql://root@{HOST}:{port}/"}
    finally:
        with suppress(SourceFailedError):  # it may have ended by itself
            run(["docker", "stop", "--time", "5", container], seconds=60)


def _start(*, durable: bool) -> str:
    """Start a container and return its id."""
    options = ["--detach", "--rm", "--publish", f"{HOST}::3306"]
    environment = ["--env", "MYSQL_ALLOW_EMPTY_PASSWORD=yes"]
    command = ["docker", "run", *options, *environment, IMAGE, *settings(durable=durable)]
    return run(command, seconds=120).strip()


def _wait(container: str, port: int) -> None:
    """Wait until the server in the container greets."""
    try:
        wait_until_ready(
            lambda: greets(HOST, port),
            lambda: _runs(container),
            seconds=_START_SECONDS,
        )
    except SourceFailedError as error:
        raise SourceFailedError(f"{error}; the end of its log:\n{_log(container)}") from error


def _runs(container: str) -> bool:
    """Look whether a container still runs."""
    time.sleep(0.2)  # asking costs more than waiting
    template = "{{.State.Running}}"
    try:
        return run(["docker", "inspect", "-f", template, container], seconds=30).strip() == "true"
    except SourceFailedError:
        return False


def _log(container: str) -> str:
    """Read the end of a container's log, which goes with the container."""
    try:
        return tail(run(["docker", "logs", "--tail", "15", container], seconds=30))
    except SourceFailedError:
        return "(gone)"
