"""The public names and their signatures, frozen."""

import enum
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from pydantic import BaseModel

SURFACE: Final = Path(__file__).with_name("public_surface.txt")

MODULES: Final = (
    "threadlog",
    "threadlog.messages",
    "threadlog.formats",
    "threadlog.errors",
    "threadlog.events",
    "threadlog.encryption",
    "threadlog.otel",
    "threadlog.models",
    "threadlog.repositories",
    "threadlog.langgraph",
    "threadlog.persistence",
    "threadlog.migrations",
    "threadlog.migrations.plugin",
    "threadlog.migrations.postgres",
    "threadlog.cubeloop",
    "threadlog.skeino",
    "threadlog.testing",
    "threadlog.testing.factories",
)


# Their members are for threadlog's own operations.
NAMES_ONLY: Final = frozenset({"threadlog.repositories"})


def public_names(module: ModuleType) -> list[str]:
    """Return the names of ``__all__``, or what the module itself defines without underscore."""
    declared = getattr(module, "__all__", None)
    if declared is not None:
        return sorted(declared)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def parameters(function: Any) -> str:
    """Return a signature as names, kinds and defaults, without annotations."""
    signature = inspect.signature(function)
    shown = [
        parameter.replace(
            annotation=inspect.Parameter.empty,
            default=inspect.Parameter.empty
            if parameter.default is inspect.Parameter.empty
            else _Shown(parameter.default),
        )
        for parameter in signature.parameters.values()
    ]
    return str(inspect.Signature(shown))


class _Shown:
    """A default that is the same text in every process."""

    def __init__(self, value: Any) -> None:
        simple = isinstance(value, str | int | float | bool | tuple | type(None) | enum.Enum)
        self._text = repr(value) if simple else f"<{type(value).__name__}>"

    def __repr__(self) -> str:
        return self._text


def describe(path: str, value: Any) -> Iterator[str]:
    """Yield a line for a public object, and one for each public member of a class."""
    if not inspect.isclass(value):
        yield path + (parameters(value) if inspect.isroutine(value) else "")
        return
    if issubclass(value, BaseModel):
        yield f"{path}({', '.join(value.model_fields)})"
        return
    yield path + (parameters(value) if _has_own_signature(value) else "")
    for name, member in inspect.getmembers(value):
        if name.startswith("_") or not _is_ours(value, name):
            continue
        yield f"{path}.{name}" + (parameters(member) if callable(member) else "")


def _has_own_signature(class_: type) -> bool:
    return not hasattr(class_, "__table__") and _is_ours(class_, "__init__")


def _is_ours(class_: type, name: str) -> bool:
    owner = next((base for base in class_.__mro__ if name in vars(base)), None)
    return owner is not None and owner.__module__.startswith("threadlog")


def surface() -> list[str]:
    """Return the lines of the whole public surface, in order."""
    lines: list[str] = []
    for module_name in MODULES:
        module = import_module(module_name)
        for name in public_names(module):
            path = f"{module_name}.{name}"
            named = module_name in NAMES_ONLY
            lines += [path] if named else describe(path, getattr(module, name))
    return lines


def test_public_surface_has_every_frozen_name_and_signature() -> None:
    frozen = SURFACE.read_text(encoding="utf-8").splitlines()
    missing = sorted(set(frozen) - set(surface()))
    assert not missing, f"Removed or changed: {missing}. Keep an alias, or change {SURFACE.name}."


def test_public_surface_has_no_name_that_is_not_frozen() -> None:
    frozen = SURFACE.read_text(encoding="utf-8").splitlines()
    added = [line for line in surface() if line not in set(frozen)]
    assert not added, f"New: {added}. Document each and add it to {SURFACE.name}."


@pytest.mark.parametrize("removed", ["threadlog.Checkpointer", "threadlog.errors.StorageError"])
def test_public_surface_lists_the_central_names(removed: str) -> None:
    assert any(line.startswith(removed) for line in surface())


if __name__ == "__main__":  # writes the file again: python -m tests.unit.test_public_surface
    SURFACE.write_text("\n".join(surface()) + "\n", encoding="utf-8")
