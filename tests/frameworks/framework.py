"""The framework under test, by name: the same tests run with each."""

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

VARIABLE: Final = "THREADLOG_TEST_FRAMEWORK"
FORMER: Final = "cubepi"
FRAMEWORKS: Final = ("cubeloop", FORMER)
_PYPROJECT: Final = Path(__file__).parent.parent.parent / "pyproject.toml"


class WrongEnvironmentError(Exception):
    """These tests cannot run here."""

    def __init__(self, problem: str) -> None:
        """Create the error of a problem, with the command that runs the tests."""
        targets = " and ".join(f"`make test-{name}`" for name in FRAMEWORKS)
        super().__init__(
            f"{problem}. The tests of a framework need an environment of their own: run "
            f"{targets}, which make it."
        )


@dataclass(frozen=True)
class Framework:
    """An agent framework and threadlog's checkpointer for it."""

    name: str
    """Its import name, which is also the client's."""

    @property
    def client(self) -> Any:
        """Threadlog's module for it."""
        return import_module(f"threadlog.{self.name}")

    @property
    def brand(self) -> str:
        """The prefix of its class names."""
        return self.name.capitalize()

    @property
    def knows_message_ids(self) -> bool:
        """True if its messages have ids, as since the framework's new name."""
        return "id" in self.module("providers.base").UserMessage.model_fields

    def module(self, name: str = "") -> Any:
        """Return one of the framework's modules; without a name the package itself."""
        return import_module(f"{self.name}.{name}".rstrip("."))


def framework_under_test() -> Framework:
    """Find the framework that the environment variable names, in its environment.

    Raises:
        WrongEnvironmentError: none is named, or something is not installed as it is pinned.
    """
    name = os.environ.get(VARIABLE, "")
    if name not in FRAMEWORKS:
        raise WrongEnvironmentError(f"{VARIABLE} is {name!r}, not one of {', '.join(FRAMEWORKS)}")
    for package, wanted in _pins(name):
        found = _installed(package)
        if found != wanted:
            raise WrongEnvironmentError(f"{package} {wanted} is needed, and {found} is installed")
    return Framework(name)


def _pins(group: str) -> Iterator[tuple[str, str]]:
    """Yield the requirements that a dependency group pins, with those of included groups."""
    groups = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["dependency-groups"]
    for requirement in groups[group]:
        if isinstance(requirement, dict):
            yield from _pins(requirement["include-group"])
        elif pin := re.fullmatch(r"([\w-]+)(?:\[.*])?==(.+)", requirement):
            yield pin[1], pin[2]


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
