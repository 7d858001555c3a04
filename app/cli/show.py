"""``threadlog show``."""

import asyncio
import json as json_module
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from threadlog.cli.open import existing, scoped
from threadlog.cli.options import DEFAULT_URL, JsonOption, OwnerOption, ThreadArgument, UrlOption
from threadlog.cli.output import (
    in_one_line,
    indented,
    json_text,
    printable,
    shorten,
    stdout,
    time_text,
)
from threadlog.encoding.validation import check_count, check_id
from threadlog.errors import ThreadNotFoundError
from threadlog.formats.any_format import WRITERS
from threadlog.formats.transcript import FormatName
from threadlog.log.hitl_request import HitlRequest
from threadlog.log.results import StoredMessage, TruncationSummary
from threadlog.messages import (
    AssistantContent,
    AssistantMessage,
    Content,
    ImageContent,
    Message,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
)
from threadlog.repositories.log.message import LogRows
from threadlog.repositories.log.thread import parse_extra
from threadlog.runtime.transactions import TransactionRunner

_EXTRA_LENGTH: Final = 400
_SHORT: Final = 60
_SOURCE_LENGTH: Final = 100
_INDENT: Final = 6
_STYLES: Final = {"user": "bold cyan", "assistant": "bold green", "tool_result": "bold yellow"}


@dataclass(frozen=True, slots=True)
class _Head:
    """The data shown before the messages, and the seq of the last message that is not shown."""

    thread_id: str
    extra: dict[str, Any]
    parent_thread_id: str | None
    pending: HitlRequest | None
    pending_run_id: str | None
    after_seq: int
    truncations: list[TruncationSummary]


def show(
    thread: ThreadArgument,
    url: UrlOption = DEFAULT_URL,
    last: Annotated[
        int | None, typer.Option(min=1, help="Show only this many of the newest messages.")
    ] = None,
    owner: OwnerOption = None,
    *,
    format_name: Annotated[
        FormatName | None,
        typer.Option("--format", show_default=False, help="Write a line for import in a format."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show a conversation: its messages with role and time, tool calls and tool results.

    With --format it is one line of JSON, which import reads: the thread's id,
    its extra, and the messages in that format.

    \b
    Example:
      threadlog show airline/0/0 --url sqlite:///threadlog.db --last 10
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    asyncio.run(_show(thread, url, last, owner, format_name, as_json=json))


async def _show(
    thread_id: str,
    url: str,
    last: int | None,
    owner: str | None,
    format_name: FormatName | None,
    *,
    as_json: bool,
) -> None:
    async with existing(url) as opened:
        checkpointer = scoped(opened, owner)
        # One more than is shown tells whether there are earlier messages.
        log = await checkpointer.client.read(_read_log, thread_id, (last or 0) + 1)
        if log is None:
            raise ThreadNotFoundError(thread_id=thread_id)
        has_control = opened.client.facts.has_control
        pending, pending_run_id = await checkpointer.load_pending(thread_id) or (None, None)
        has_earlier = last is not None and len(log.messages) > last
        head = _Head(
            thread_id,
            extra={} if log.extra is None else parse_extra(thread_id, log.extra),
            parent_thread_id=log.parent_thread_id,
            pending=pending,
            pending_run_id=pending_run_id,
            after_seq=log.messages[0][0] if has_earlier else 0,
            truncations=await checkpointer.truncations(thread_id) if has_control else [],
        )
        messages = checkpointer.stream(thread_id, after_seq=head.after_seq)
        if format_name is not None:
            written = WRITERS[format_name]([stored.message async for stored in messages])
            line = {"thread_id": thread_id, "extra": head.extra, "messages": written}
            typer.echo(json_text(line))
        elif as_json:
            await _write_json(head, messages)
        else:
            await _write_text(stdout(), head, messages)


def _read_log(transactions: TransactionRunner, thread_id: str, last: int) -> LogRows | None:
    """Read a thread with its last messages, which are not decoded."""
    check_id(thread_id)
    check_count(last, "last", least=1)
    return transactions.read(lambda uow: uow.messages.log(thread_id, last=last))


# --- For programs ------------------------------------------------------------------


async def _write_json(head: _Head, messages: AsyncIterator[StoredMessage[Message]]) -> None:
    """Write one JSON object, a message at a time: a thread may exceed the memory."""
    pending = head.pending
    fields = {
        "thread_id": head.thread_id,
        "extra": head.extra,
        "parent_thread_id": head.parent_thread_id,
        "pending_request": None if pending is None else pending.model_dump(mode="json"),
        "pending_run_id": head.pending_run_id,
        "truncations": [
            {
                **asdict(each),
                "truncated_at": each.truncated_at.isoformat(),
            }
            for each in head.truncations
        ],
    }
    typer.echo(json_text(fields).removesuffix("}") + ', "messages": [', nl=False)
    separator = "\n"
    async for stored in messages:
        place = {"seq": stored.seq, "created_at": stored.created_at.isoformat()}
        # Twice: first for the order, then to override a message's fields of these names.
        message = place | stored.message.model_dump(mode="json") | place
        typer.echo(separator + json_text(message), nl=False)
        separator = ",\n"
    typer.echo("\n]}")


# --- For people --------------------------------------------------------------------


async def _write_text(
    console: Console, head: _Head, messages: AsyncIterator[StoredMessage[Message]]
) -> None:
    _print_head(console, head)
    if head.after_seq:
        console.print(Text(f"\n… earlier messages, up to seq {head.after_seq:,}", style="dim"))
    async for stored in messages:
        console.print()
        console.print(_title(stored), soft_wrap=True)
        for block in stored.message.content:
            _print_block(console, _body(block))
        if stored.message.metadata:
            metadata = json_module.dumps(stored.message.metadata, ensure_ascii=False)
            _print_block(console, Text(f"metadata {printable(metadata)}", style="dim"))


def _print_head(console: Console, head: _Head) -> None:
    console.print(Text.assemble(("thread ", "dim"), (in_one_line(head.thread_id), "bold")))
    if head.parent_thread_id is not None:
        console.print(Text.assemble(("forked from ", "dim"), in_one_line(head.parent_thread_id)))
    if head.pending is not None:
        _print_pending(console, head.pending, head.pending_run_id)
    for each in head.truncations:
        console.print(_removal(each), soft_wrap=True)
    for key, value in head.extra.items():
        text = value if isinstance(value, str) else json_module.dumps(value, ensure_ascii=False)
        name = Text(f"{in_one_line(key)}:", style="magenta")
        if len(text) <= _SHORT and "\n" not in text:
            console.print(name.append(f" {printable(text)}", style="default"), soft_wrap=True)
        else:
            console.print(name, soft_wrap=True)
            _print_block(console, Text(printable(shorten(text, _EXTRA_LENGTH)), style="dim"))


def _print_pending(console: Console, pending: HitlRequest, run_id: str | None) -> None:
    line = Text.assemble(
        ("waiting for an answer to ", "yellow"), (in_one_line(pending.question_id), "bold yellow")
    )
    if run_id is not None:
        line.append(f" in run {in_one_line(run_id)}", style="yellow")
    console.print(line, soft_wrap=True)
    payload = json_module.dumps(pending.payload, ensure_ascii=False)
    _print_block(console, Text(printable(shorten(payload, _EXTRA_LENGTH)), style="dim"))


def _removal(truncation: TruncationSummary) -> Text:
    count = truncation.message_count
    line = (
        f"removed {count:,} message{'' if count == 1 else 's'} after seq {truncation.after_seq}, "
        f"up to seq {truncation.last_seq}, on {time_text(truncation.truncated_at)}"
    )
    by = "" if truncation.run_id is None else f" by run {in_one_line(truncation.run_id)}"
    return Text(line + by, style="dim")


def _title(stored: StoredMessage[Message]) -> Text:
    message = stored.message
    who = message.role if not isinstance(message, ToolResultMessage) else message.tool_name
    title = Text.assemble(
        (f"{stored.seq:>{_INDENT - 2}}  ", "dim"),
        (in_one_line(who), _STYLES[message.role]),
        ("  tool result", "yellow") if isinstance(message, ToolResultMessage) else "",
        (f"  {time_text(stored.created_at)}", "dim"),
    )
    if isinstance(message, ToolResultMessage) and message.is_error:
        title.append("  failed", style="bold red")
    if isinstance(message, AssistantMessage) and message.error_message:
        title.append(f"  {in_one_line(message.error_message)}", style="bold red")
    return title


def _body(block: Content | AssistantContent) -> Text:
    match block:
        case TextContent():
            return Text(printable(block.text))
        case ThinkingContent():
            return Text(printable(block.thinking), style="dim italic")
        case ToolCall():
            arguments = json_module.dumps(block.arguments, ensure_ascii=False)
            return Text.assemble(
                ("→ ", "yellow"),
                (in_one_line(block.name), "bold yellow"),
                f" {printable(arguments)}",
            )
        case ImageContent():
            return Text(_placeholder(block), style="blue")


def _placeholder(image: ImageContent) -> str:
    kind = " ".join(filter(None, ["image", image.media_type]))
    if "://" in image.source[:_SOURCE_LENGTH]:
        kind += f" {shorten(image.source, _SOURCE_LENGTH)}"
    else:
        kind += f", {len(image.source):,} characters"
    return in_one_line(f"[{kind}]")


def _print_block(console: Console, text: Text) -> None:
    for line in indented(console, text, _INDENT):
        console.print(line, soft_wrap=True)
