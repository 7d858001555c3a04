"""MySQL from Debian's packages, unpacked beside the tests and not installed."""

import re
import shutil
from pathlib import Path
from typing import Final

from tests.servers.apt_source import machine_sources, sid_source
from tests.servers.cache import CACHE, cache_lock, draft
from tests.servers.command import run, say
from tests.servers.error import SourceFailedError
from tests.servers.program import Program, described

_WANTED: Final = ("mysql-server-core", "mysql-client-core")
_NEEDLESS: Final = re.compile(r"perl|libdb|libgdbm")  # of scripts that nobody runs here
_ONLY_DEPENDS: Final = tuple(
    f"--no-{kind}"
    for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
)


def program_from_debian() -> Program:
    """Find MySQL in the cache, or download and unpack it first.

    Raises:
        SourceFailedError: this is no Debian, or the download failed.
    """
    folder = CACHE / "debian"
    if not folder.exists():
        _require("apt-get", "apt-cache", "dpkg-deb")
        with cache_lock():
            if not folder.exists():
                with draft(folder) as work:
                    _unpack(work)
    return _program(folder)


def _require(*commands: str) -> None:
    """Refuse a machine without Debian's package tools."""
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        raise SourceFailedError(f"not a Debian machine: no {', '.join(missing)}")


def _unpack(root: Path) -> None:
    """Download the packages and unpack them into a folder."""
    source = sid_source(machine_sources())
    say("downloading MySQL from Debian sid (about 60 MB, once) ...")
    apt = root / "apt"
    debs = apt / "debs"
    options = _private_apt(apt, source)
    run(["apt-get", *options, "--quiet", "update"], seconds=300)
    names = _with_dependencies(options)
    run(["apt-get", *options, "--quiet", "download", *names], seconds=900, folder=debs)
    say(f"unpacking {len(names)} packages ...")
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "--extract", str(deb), str(root)], seconds=120)
    shutil.rmtree(apt)


def _private_apt(apt: Path, source: str) -> list[str]:
    """Lay out a package state apart from the machine's, and return the options that name it."""
    for name in ("sources", "lists/partial", "cache/archives/partial", "debs"):
        (apt / name).mkdir(parents=True)
    (apt / "sources" / "sid.sources").write_text(source, encoding="utf-8")
    (apt / "status").touch()  # nothing is installed: every package comes from sid
    settings = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": apt / "sources",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State::Lists": apt / "lists",
        "Dir::State::Status": apt / "status",
        "Dir::Cache": apt / "cache",
        "APT::Default-Release": "",
        "APT::Sandbox::User": "root",  # the system's own apt user cannot write here
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
        "APT::Update::Error-Mode": "any",  # or a mirror that does not answer is but a warning
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _with_dependencies(options: list[str]) -> list[str]:
    """List the wanted packages and all that they depend on."""
    command = ["apt-cache", *options, "depends", "--recurse", *_ONLY_DEPENDS, *_WANTED]
    lines = run(command, seconds=60).splitlines()
    names = {line for line in lines if re.match(r"\w", line) and not _NEEDLESS.match(line)}
    return sorted(names)


def _program(root: Path) -> Program:
    """Call the unpacked mysqld with the C library that was unpacked with it."""
    loader = next(root.glob("usr/lib/*/ld-linux*.so.*"), None)
    if loader is None:
        raise SourceFailedError(f"the unpacked packages in {root} lack a loader; delete the folder")
    libraries, mysqld = str(loader.parent), str(root / "usr/sbin/mysqld")
    share = root / "usr/share/mysql"
    return described(
        (str(loader), "--library-path", libraries, mysqld),
        (
            f"--basedir={root / 'usr'}",
            f"--lc-messages-dir={share}",
            f"--character-sets-dir={share / 'charsets'}",
            f"--plugin-dir={root / 'usr/lib/mysql/plugin'}",
        ),
    )
