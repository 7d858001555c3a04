"""Servers in Docker containers."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tests.support.servers.command import run, say, tail
from tests.support.servers.error import SourceFailedError
from tests.support.servers.product import HOST, Product
from tests.support.servers.products import EVERY_PRODUCT
from tests.support.servers.readiness import answers, wait_until_ready

_START_SECONDS: Final = 180


def require_docker(image: str) -> None:
    """Check that Docker works here and has an image, which is pulled if need be.

    Raises:
        SourceFailedError: Docker is not installed, does not answer, or cannot pull.
    """
    if shutil.which("docker") is None:
        raise SourceFailedError("there is no docker on PATH")
    run(["docker", "info"], seconds=15)
    try:
        run(["docker", "image", "inspect", image], seconds=30)
    except SourceFailedError:
        say(f"pulling the Docker image {image} (some hundred MB, once) ...")
        run(["docker", "pull", "--quiet", image], seconds=900)


@contextmanager
def running_container(*, product: str, durable: bool) -> Iterator[dict[str, str]]:
    """Run a server in a container that goes when the block ends.

    Args:
        product: the server's name.
        durable: see `Product.settings`.

    Yields:
        The server's URL.

    Raises:
        SourceFailedError: it does not start.
    """
    server = EVERY_PRODUCT[product]
    container = _start(server, durable=durable)
    try:
        published = run(["docker", "port", container, f"{server.port}/tcp"], seconds=30)
        url = server.url(int(published.rpartition(":")[2]))
        _wait(server, container, url)
        yield {"url": url}
    finally:
        with suppress(SourceFailedError):  # it may have ended by itself
            run(["docker", "stop", "--time", "5", container], seconds=60)


def _start(product: Product, *, durable: bool) -> str:
    """Start a container and return its id."""
    options = ["--detach", "--rm", "--publish", f"{HOST}::{product.port}"]
    environment = ["--env", product.image.environment] if product.image.environment else []
    image = product.image.name
    command = ["docker", "run", *options, *environment, image, *product.settings(durable)]
    return run(command, seconds=120).strip()


def _wait(product: Product, container: str, url: str) -> None:
    """Wait until the server in the container serves clients."""
    try:
        wait_until_ready(
            lambda: answers(product, url),
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
