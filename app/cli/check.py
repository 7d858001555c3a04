"""``threadlog check``."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Final

import typer
from rich.text import Text

from threadlog.cli.options import (
    DEFAULT_URL,
    JsonOption,
    PartOption,
    UrlArgument,
    UrlOption,
    one_url,
)
from threadlog.cli.output import ReaderLeft, in_one_line, print_json, stdout, without_password
from threadlog.databases.urls import parse_url, show_url
from threadlog.schema.check import CheckResult, check_database

_STYLES: Final = {"ok": "green", "warning": "yellow", "error": "bold red"}


def check(
    context: typer.Context,
    argument: UrlArgument = None,
    url: UrlOption = DEFAULT_URL,
    *,
    part: PartOption = None,
    json: JsonOption = False,
) -> None:
    """Check a database's server and schema, and show how to repair them.

    Changes nothing. Checks the parts of the schema that have tables:
    messages, graph, store, control, metadata. The exit status is 1 if
    there is an error, and 0 if there are only warnings.

    \b
    Example:
      threadlog check mysql://user:password@localhost:3306/app
    """  # noqa: D301 - Click does not rewrap a paragraph after \b
    url = one_url(context, argument, url)
    findings = asyncio.run(check_database(url, part=part))
    with suppress(ReaderLeft):  # the exit status still matters
        if json:
            print_json(_as_json(url, findings))
        else:
            _print(findings)
    if _failed(findings):
        raise typer.Exit(1)


def _failed(findings: Sequence[CheckResult]) -> bool:
    return any(finding.status == "error" for finding in findings)


def _as_json(url: str, findings: Sequence[CheckResult]) -> dict[str, object]:
    return {
        "url": show_url(parse_url(url)),
        "ok": not _failed(findings),
        "findings": [asdict(finding) for finding in findings],
    }


def _print(findings: Sequence[CheckResult]) -> None:
    console = stdout()
    for finding in findings:
        line = Text.assemble(
            (f"{finding.status:<8}", _STYLES[finding.status]),
            (f"{finding.check:<12}", "bold"),
            in_one_line(without_password(finding.message)),
        )
        if finding.remedy:
            # Last on the line, for copying.
            line.append(f" Run: {in_one_line(finding.remedy)}", style="cyan")
        console.print(line, soft_wrap=True)
