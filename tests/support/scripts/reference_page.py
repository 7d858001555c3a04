"""The page of reference, made of the sources: ``python -m tests.support.scripts.reference_page``.

It is text in the repository, so that it can be read there; `tests.examples.test_reference` checks
that it is what the sources say.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).parents[3] / "docs" / "reference.md"

INTRODUCTION: Final = """\
# Reference

Made of the docstrings of the code by `python -m tests.support.scripts.reference_page`. Do not edit.
"""

SYNC: Final = """\
`threadlog.SyncCheckpointer` has the same methods without asyncio. It accepts a URL, an `Engine` \
or a `sessionmaker`, and binds a `Session`.
"""

SECTIONS: Final[dict[str, list[str]]] = {
    "Checkpointers": [
        "threadlog.Checkpointer",
        "threadlog.MySQLCheckpointer",
        "threadlog.MariaDBCheckpointer",
        "threadlog.PostgresCheckpointer",
    ],
    "One pool": ["threadlog.Database"],
    "Several servers": ["threadlog.follow_primary"],
    "Events": [
        "threadlog.observe",
        "threadlog.events.CallEnded",
        "threadlog.events.TransactionRetried",
        "threadlog.events.CommitLost",
        "threadlog.events.BatchSent",
        "threadlog.events.ConnectionAwaited",
        "threadlog.otel.instrument",
    ],
    "Encryption": ["threadlog.encryption.Encryption", "threadlog.encryption.Place"],
    "Results": [
        "threadlog.CheckpointData",
        "threadlog.StoredMessage",
        "threadlog.ThreadSummary",
        "threadlog.RunSummary",
        "threadlog.Claim",
        "threadlog.Erased",
        "threadlog.HitlRequest",
    ],
    "Messages": [
        "threadlog.messages.UserMessage",
        "threadlog.messages.AssistantMessage",
        "threadlog.messages.ToolResultMessage",
        "threadlog.messages.TextContent",
        "threadlog.messages.ImageContent",
        "threadlog.messages.ThinkingContent",
        "threadlog.messages.ToolCall",
        "threadlog.messages.Usage",
        "threadlog.MessageCodec",
    ],
    "Formats": [
        "threadlog.formats.Transcript",
        "threadlog.formats.read_conversation",
        "threadlog.formats.from_openai_chat",
        "threadlog.formats.to_openai_chat",
        "threadlog.formats.from_openai_responses",
        "threadlog.formats.to_openai_responses",
        "threadlog.formats.from_anthropic",
        "threadlog.formats.to_anthropic",
        "threadlog.formats.from_sharegpt",
        "threadlog.formats.to_sharegpt",
        "threadlog.formats.from_langchain",
        "threadlog.formats.to_langchain",
    ],
    "Graph state": [
        "threadlog.langgraph.Saver",
        "threadlog.langgraph.Pruned",
        "threadlog.langgraph.Store",
        "threadlog.langgraph.BoundStore",
        "threadlog.langgraph.OwningSaver",
        "threadlog.testing.store_conformance",
        "threadlog.testing.RuleResult",
        "threadlog.persistence.open_persistence",
        "threadlog.persistence.open_checkpointer",
        "threadlog.persistence.PersistenceSettings",
        "threadlog.persistence.register_checkpointer",
        "threadlog.persistence.register_metadata_store",
        "threadlog.persistence.CheckpointerSpec",
        "threadlog.persistence.MetadataStoreProtocol",
        "threadlog.persistence.MetadataStore",
        "threadlog.persistence.MongoMetadataStore",
        "threadlog.skeino.register",
    ],
    "Tables": [
        "threadlog.models.Thread",
        "threadlog.models.Message",
        "threadlog.models.Run",
        "threadlog.models.HitlAnswer",
        "threadlog.models.SchemaVersion",
        "threadlog.models.metadata_column",
        "threadlog.models.SearchMessage",
        "threadlog.models.SearchToolCall",
        "threadlog.models.matches",
        "threadlog.models.SearchVersion",
        "threadlog.models.Checkpoint",
        "threadlog.models.CheckpointBlob",
        "threadlog.models.CheckpointWrite",
        "threadlog.models.WriteOwner",
        "threadlog.models.AppThread",
        "threadlog.models.AppRun",
        "threadlog.models.GraphVersion",
        "threadlog.models.StoreItem",
        "threadlog.models.StoreVersion",
    ],
    "Tests": [
        "threadlog.testing.create_all",
        "threadlog.testing.create_all_async",
        "threadlog.testing.rolled_back_engine",
        "threadlog.testing.sync_rolled_back_engine",
        "threadlog.testing.age_rows",
    ],
    "Migrations": [
        "threadlog.migrating.upgrade",
        "threadlog.migrating.downgrade",
        "threadlog.migrating.upgrade_sql",
        "threadlog.migrations.exclude_threadlog_tables",
    ],
    "Copying": [
        "threadlog.copying.copy_database",
        "threadlog.copying.compare_databases",
        "threadlog.copying.Copied",
        "threadlog.copying.Fault",
    ],
}
"""The objects of each section."""

_LISTS: Final = {"Args:", "Raises:", "Returns:", "Yields:"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def page() -> str:
    """Return the text of the page."""
    parts = [INTRODUCTION]
    shown: set[tuple[str, str]] = set()
    for section, names in SECTIONS.items():
        parts.append(f"## {section}\n")
        for name in names:
            parts += _object(name, shown)
        if section == "Checkpointers":
            parts.append(SYNC)
    parts.append("## Errors\n")
    parts += _errors()
    return "\n".join(parts)


def _object(name: str, shown: set[tuple[str, str]]) -> Iterator[str]:
    """Yield the text of a class or function.

    Args:
        name: its name, with the module that it is imported from.
        shown: class and name of the members that are on the page already; gets those of this one.
    """
    module, _, last = name.rpartition(".")
    value = getattr(import_module(module), last)
    yield f"### {name}\n"
    node = _node(value)
    if isinstance(node, Function):
        yield from _function(node)
        return
    constructor = _constructor(value)
    if constructor is not None:
        yield f"`{last}{_arguments(constructor, bound=True)}`\n"
    yield _markdown(ast.get_docstring(node))
    if hasattr(value, "__tablename__"):
        yield f"The table is `{value.__tablename__}`.\n"
    if constructor is not None and (text := ast.get_docstring(constructor)):
        yield from _sections(text, without_text=True)
    yield from _members(value, last, shown)


def _node(value: Any) -> Any:
    """Return the syntax tree of a class or function."""
    return ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]


def _classes(class_: type) -> Iterator[ast.ClassDef]:
    """Yield a class and its bases of threadlog, the nearest first."""
    for base in class_.__mro__:
        if base.__module__.startswith("threadlog"):
            yield _node(base)


def _constructor(class_: type) -> Function | None:
    for node in _classes(class_):
        for member in node.body:
            if isinstance(member, Function) and member.name == "__init__":
                return member
    return None


def _members(class_: type, name: str, shown: set[tuple[str, str]]) -> Iterator[str]:
    """Yield the table of a class's fields, and its public methods, but those shown already."""
    seen: set[str] = set()
    fields, methods, others = [], [], set()
    for node in _classes(class_):
        for member, after in zip(node.body, [*node.body[1:], None], strict=True):
            named = _name(member)
            if named is None or named.startswith("_") or named in seen:
                continue
            seen.add(named)
            if (node.name, named) in shown:
                others.add(node.name)
                continue
            shown.add((node.name, named))
            if isinstance(member, ast.AnnAssign):
                fields.append(_field(member, after))
            elif isinstance(member, Function):
                methods.append((named, member))
    if others:
        yield "The other methods and attributes are those of the classes above.\n"
    if fields:
        yield "| name | type | |"
        yield "|---|---|---|"
        yield from fields
        yield ""
    for named, member in methods:
        yield f"#### {name}.{named}\n"
        yield from _function(member)


def _name(member: ast.stmt) -> str | None:
    if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
        return member.target.id
    return member.name if isinstance(member, Function) else None


def _field(member: ast.AnnAssign, after: ast.stmt | None) -> str:
    text = ""
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
        text = " ".join(_markdown(inspect.cleandoc(str(after.value.value))).split())
    kind = ast.unparse(member.annotation).replace("|", "\\|")
    name = _name(member)
    return f"| `{name}` | `{kind}` | {text} |".replace("|  |", "| |")


def _function(node: Function) -> Iterator[str]:
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    text = ast.get_docstring(node) or ""
    if "property" in decorators:
        yield f"`{node.name}: {ast.unparse(node.returns) if node.returns else 'Any'}`\n"
    else:
        is_method = bool(node.args.args) and node.args.args[0].arg in {"self", "cls"}
        word = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
        result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        yield f"`{word}{node.name}{_arguments(node, bound=is_method)}{result}`\n"
    yield from _sections(text)


def _arguments(node: Function, *, bound: bool) -> str:
    arguments = ast.unparse(node.args)
    if bound:
        arguments = re.sub(r"^(self|cls)(, /)?(, )?", "", arguments)
    return f"({arguments})"


def _sections(text: str, *, without_text: bool = False) -> Iterator[str]:
    """Yield a docstring as Markdown, with lists of its arguments and errors."""
    parts = re.split(r"(?m)^(Args:|Raises:|Returns:|Yields:)$", text)
    if not without_text:
        yield _markdown(parts[0])
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        yield f"{title}\n"
        lines = textwrap.dedent(body).strip()
        if title in {"Args:", "Raises:"}:
            for item in re.split(r"(?m)^(?=\S)", lines):
                name, _, meaning = " ".join(item.split()).partition(": ")
                if name:
                    yield f"- `{name.strip('`')}`: {_markdown(meaning).strip()}"
            yield ""
        else:
            yield _markdown(lines)


def _markdown(text: str | None) -> str:
    """Return the text of a docstring with the marks of Markdown."""
    plain = re.sub(r"``([^`]+)``", r"`\1`", text or "")
    return re.sub(r"(?m)::$", ":", plain).rstrip() + "\n"


def _errors() -> Iterator[str]:
    """Yield each error with its bases and attributes."""
    errors = import_module("threadlog.errors")
    yield "All are in `threadlog.errors`; [Errors](errors.md) says what to do.\n"
    yield "| error | is a | |"
    yield "|---|---|---|"
    for name, value in vars(errors).items():
        if inspect.isclass(value) and value.__module__ == errors.__name__:
            bases = ", ".join(f"`{base.__name__}`" for base in value.__bases__)
            text = _markdown((value.__doc__ or "").split("\n\n")[0]).replace("|", "\\|")
            yield f"| `{name}` | {bases} | {' '.join(text.split())} |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
