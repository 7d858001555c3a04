"""Copy the items of the memory store from one database to another, a page at a time."""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial

from threadlog.copying.compare_thread import Difference, ThreadPair
from threadlog.copying.copy_thread import (
    Outcome,
    Status,
    reason_of_refusal,
    write_differences,
)
from threadlog.copying.paging import Page, page_of_rows
from threadlog.copying.row_groups import RowGroup, has_expired
from threadlog.errors import CopyEndError, TooLargeError
from threadlog.repositories import UnitOfWork
from threadlog.repositories.graph.store_item import labels_of
from threadlog.repositories.transfer import RowKey
from threadlog.runtime.transactions import TransactionRunner


@dataclass(slots=True)
class CopiedPage:
    """The result of copying or comparing a page of items."""

    last: RowKey | None
    """The key of the last item; None if there are no more."""

    rows: int = 0
    """Rows that were written."""

    outcomes: list[tuple[str, Outcome]] = field(default_factory=list)
    """The result of each item, with its namespace and key."""


def copy_page(
    source: TransactionRunner,
    target: TransactionRunner,
    group: RowGroup,
    after: RowKey | None,
    *,
    writes: bool,
) -> CopiedPage:
    """Copy a page of items to the target, and compare both databases.

    An item of the target is overwritten only if it is an earlier version of the source's, or has
    expired. Expired items of the source are not copied.

    Args:
        source: runs transactions in the source.
        target: runs transactions in the target.
        group: the table of the items.
        after: the last key of the page before; None for the first page.
        writes: False to compare only.

    Raises:
        CopyEndError: one of the databases cannot be used any more.
    """

    def work(uow: UnitOfWork) -> CopiedPage:
        found = page_of_rows(uow, group.tables[0], after)
        now = uow.catalogue.now()
        items = {key: row for key, row in found.rows.items() if not has_expired(row, now)}
        page = Page(found.table, items)
        copied = CopiedPage(max(found.rows, default=None))
        outcomes = _process(ThreadPair(uow, target, group, None), page, copied, writes=writes)
        for key, row in items.items():
            name = f"{labels_of(row['namespace'])} {row['item_key']!r}"
            copied.outcomes.append((name, outcomes.get(key, Outcome("unchanged"))))
        return copied

    return source.read(work)


def _process(
    pair: ThreadPair, page: Page, copied: CopiedPage, *, writes: bool
) -> dict[RowKey, Outcome]:
    """Copy or compare a page; return the results of the items that were not the same."""
    found = pair.target.read(partial(pair.differences, page))
    kind: Status = "conflict" if writes else "different"
    outcomes = {key: Outcome(kind, [str(difference)]) for key, difference in found.items()}
    wanted = [key for key, difference in found.items() if difference.kind != "different"]
    if not writes or not wanted:
        return outcomes
    refused = _write(pair, page, wanted, copied)
    left = pair.target.read(partial(pair.differences, _part(page, wanted)))
    for key in wanted:
        if key in refused:
            outcomes[key] = Outcome("failed", [refused[key]])
        elif key in left:
            outcomes[key] = Outcome("different", [str(left[key])])
        else:
            outcomes[key] = Outcome("copied")
    return outcomes


def _write(
    pair: ThreadPair, page: Page, keys: Collection[RowKey], copied: CopiedPage
) -> dict[RowKey, str]:
    """Write items in one transaction; if the target refuses one, each by itself.

    Returns:
        The reasons why items were refused.
    """

    def put(uow: UnitOfWork) -> int:
        part = _part(page, keys)
        found: dict[RowKey, Difference] = pair.differences(part, uow, lock=True)
        return write_differences(uow, part, found, pair.target.facts.statement_limit)

    try:
        copied.rows += pair.target.write(put, idempotent=True)
    except (TooLargeError, CopyEndError) as error:
        reason = reason_of_refusal(error)
    else:
        return {}
    if len(keys) == 1:
        return dict.fromkeys(keys, reason)
    refused: dict[RowKey, str] = {}
    for key in keys:
        refused |= _write(pair, page, [key], copied)
    return refused


def _part(page: Page, keys: Collection[RowKey]) -> Page:
    return Page(page.table, {key: page.rows[key] for key in keys})
