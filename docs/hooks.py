# ruff: noqa: INP001 - no package: MkDocs loads it by its path
"""What MkDocs calls while it builds the documentation."""

from typing import Any


def on_page_content(html: str, **_: Any) -> str:
    """End paragraphs of docstrings that introduce an example with one colon, not two."""
    return html.replace("::</p>", ":</p>")
