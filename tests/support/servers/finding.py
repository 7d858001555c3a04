"""Programs of servers that the machine has."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.support.servers.command import run
from tests.support.servers.error import SourceFailedError
from tests.support.servers.product import Product
from tests.support.servers.program import Program


def described(
    product: Product, path: Path, *, prefix: tuple[str, ...] = (), options: tuple[str, ...] = ()
) -> Program:
    """Ask a program for its version.

    Args:
        product: what it should be.
        path: where it lies.
        prefix: what runs it.
        options: what it needs on every start.

    Raises:
        SourceFailedError: it does not run, or is no version that threadlog works with.
    """
    command = [*prefix, str(path), *product.first_options, "--version"]
    text = run(command, seconds=30, user=product.user)
    version = product.supported_version(text)
    build = text[product.find_version(text).start() :].strip()
    return Program(prefix, path, (*product.first_options, *options), version, build)


def program_on_path(product: Product) -> Program:
    """Find the machine's own program, on PATH or where else it usually lies.

    Raises:
        SourceFailedError: there is none, or none that threadlog works with.
    """
    reasons = []
    for path in _candidates(product):
        try:
            return described(product, path)
        except SourceFailedError as error:
            reasons.append(f"{path}: {error}")
    where = ", ".join(["PATH", *(f"/{folder}" for folder in product.folders)])
    raise SourceFailedError(
        "\n".join(reasons) or f"there is no {' or '.join(product.programs)} on {where}"
    )


def _candidates(product: Product) -> Iterator[Path]:
    """List programs of its names, the first choice first."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for pattern in product.folders:
        folders += map(str, sorted(Path("/").glob(pattern), key=_numbers, reverse=True))
    for name in product.programs:
        for folder in folders:
            found = shutil.which(name, path=folder)
            if found:
                yield Path(found)


def _numbers(path: Path) -> list[int]:
    """Order folders by the versions in their paths."""
    return [int(number) for number in re.findall(r"\d+", str(path))]
