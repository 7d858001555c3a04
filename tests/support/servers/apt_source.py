"""Debian's mirror, as the machine's own package sources name it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.servers.error import SourceFailedError

_FOLDER: Final = Path("/etc/apt")
_SUITE: Final = re.compile(r"[a-z]+")  # a release; not one with -updates, -security, a slash
_MIRROR: Final = re.compile(r"/debian(\.list)?/?$")  # .list: a mirror+file: address
_ONE_LINE: Final = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<rest>\S.*)")


@dataclass(frozen=True)
class AptSource:
    """One package source."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""
    """A key file or, over several lines, a key; empty for the machine's trusted keys."""

    def mirror(self) -> str | None:
        """Find the address of a Debian mirror, if this is Debian's main archive."""
        if "main" not in self.components or self.release() is None:
            return None
        return next((uri for uri in self.uris if _MIRROR.search(uri)), None)

    def release(self) -> str | None:
        """Find the suite that is a release, if there is one."""
        return next(filter(_SUITE.fullmatch, self.suites), None)


def parse_deb822(text: str) -> Iterator[AptSource]:
    """Read the enabled binary sources of a ``.sources`` file."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        pairs = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        fields = {name.lower(): value.strip() for name, value in pairs}
        disabled = fields.get("enabled", "yes").lower() in {"no", "false", "0"}
        if "deb" in fields.get("types", "").split() and not disabled:
            yield AptSource(
                uris=tuple(fields.get("uris", "").split()),
                suites=tuple(fields.get("suites", "").split()),
                components=tuple(fields.get("components", "").split()),
                signed_by=fields.get("signed-by", ""),
            )


def parse_one_line(text: str) -> Iterator[AptSource]:
    """Read the binary sources of a ``.list`` file."""
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match is None:
            continue
        uri, suite, *components = f"{match['rest']} - -".split()
        options = dict(part.partition("=")[::2] for part in (match["options"] or "").split())
        signed_by = options.get("signed-by", "")
        yield AptSource((uri,), (suite,), tuple(components), signed_by)


def debian_source(sources: Iterator[AptSource], suite: str | None) -> str:
    """Name a suite of Debian on the machine's mirror, in ``.sources`` style.

    Args:
        sources: the machine's.
        suite: which; None for the machine's own release.

    Raises:
        SourceFailedError: none of the sources is Debian's main archive.
    """
    for source in sources:
        mirror = source.mirror()
        if mirror is not None:
            lines = ["Types: deb", f"URIs: {mirror}", f"Suites: {suite or source.release()}"]
            lines.append("Components: main")
            if source.signed_by:
                lines.append(f"Signed-By: {source.signed_by}")
            return "\n".join(lines) + "\n"
    raise SourceFailedError("the machine's apt sources name no mirror of Debian's main archive")


def machine_sources(folder: Path = _FOLDER) -> Iterator[AptSource]:
    """Read the machine's package sources, of both styles."""
    parts = folder / "sources.list.d"
    for path in sorted(parts.glob("*.sources")):
        yield from parse_deb822(path.read_text(encoding="utf-8", errors="replace"))
    for path in [folder / "sources.list", *sorted(parts.glob("*.list"))]:
        if path.is_file():
            yield from parse_one_line(path.read_text(encoding="utf-8", errors="replace"))
