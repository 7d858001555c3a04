"""The documentation: every code sample is run, and every link has a target."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.processes import COMMAND_LINE, run_python
from tests.support.scripts.docs_page import blocks, matches, needs_mysql
from threadlog import errors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
NAV = re.findall(r"(?m)^  - [^:\n]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def read(name: str) -> str:
    """Return the text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.mysql] * needs_mysql(read(name))) for name in PAGES],
)
@pytest.mark.processes
def test_what_a_page_shows_is_so(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    mysql = request.getfixturevalue("mysql_database") if needs_mysql(read(name)) else ""
    ran = run_python(
        *("-m", "tests.support.scripts.docs_page", str(DOCS / name), str(tmp_path), mysql),
        imports=[*COMMAND_LINE, "alembic.config", "langgraph.graph", "threadlog.langgraph"],
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout == ""


def test_there_is_something_to_run() -> None:
    """The blocks are found."""
    found = [block for name in PAGES for block in blocks(read(name))]
    assert len([b for b in found if b.language == "python" and not b.fragment]) > 20
    assert len([b for b in found if b.language == "console"]) > 5
    opened = sum(len(re.findall(r"(?m)^```\w", read(name))) for name in PAGES)
    assert opened == len(found) + len([b for b in found if b.output])


@pytest.mark.parametrize("name", PAGES)
def test_fragments_are_python_too(name: str) -> None:
    for block in blocks(read(name)):
        if block.language == "python":
            assert ast.parse(block.text).body, block.text


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        ("a 1\n", "a 1", True),
        ("a … c", "a b c\n", True),
        ("a\n…\nc\n", "a\nb\nb\nc\n", True),
        ("…\nc\n", "c\n", True),
        ("", "", True),
        ("", "a", False),
        ("a", "", False),
        ("a\n", "a\nb\n", False),
        ("a … c", "a\nc", False),
        ("a.c", "abc", False),
    ],
)
def test_outputs_are_compared(shown: str, printed: str, expected: bool) -> None:  # noqa: FBT001 - the outcome
    assert matches(shown, printed) is expected


def test_every_page_is_in_the_navigation() -> None:
    assert sorted(NAV) == PAGES


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as MkDocs and GitHub make them."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    titles = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "page",
    [*(DOCS / name for name in PAGES), ROOT / "README.md", ROOT / "CONTRIBUTING.md"],
    ids=lambda page: page.name,
)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_error_is_on_its_page() -> None:
    """The page of errors names all of them, and says which are retryable."""
    page = read("errors.md")
    for name, error in vars(errors).items():
        if isinstance(error, type) and error.__module__ == errors.__name__:
            assert f"`{name}`" in page or f" {name}\n" in page, name
            if getattr(error, "retryable", False):
                assert re.search(rf"\| `{name}` \|[^|]*\| yes \|", page), name
