"""Servers from Debian's packages, unpacked beside the tests and not installed."""

import re
import shutil
from pathlib import Path
from typing import Final

from tests.support.servers.apt_source import debian_source, machine_sources
from tests.support.servers.cache import CACHE, cache_lock, draft
from tests.support.servers.command import run, say
from tests.support.servers.error import SourceFailedError
from tests.support.servers.finding import described
from tests.support.servers.product import Packages, Product
from tests.support.servers.program import Program

_ONLY_DEPENDS: Final = tuple(
    f"--no-{kind}"
    for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
)


def program_from_debian(product: Product, packages: Packages) -> Program:
    """Find a server in the cache, or download and unpack it first.

    Raises:
        SourceFailedError: this is no Debian, or the download failed.
    """
    return _program(unpacked(product.name, product.title, packages), product, packages)


def unpacked(name: str, title: str, packages: Packages) -> Path:
    """Find a program's packages in the cache, or download and unpack them first.

    Args:
        name: what its folder in the cache is called.
        title: what people call it.
        packages: which.

    Raises:
        SourceFailedError: this is no Debian, or the download failed.
    """
    cache = CACHE / name
    folder = cache / "debian"
    if not folder.exists():
        _require("apt-get", "apt-cache", "dpkg-deb")
        with cache_lock(cache):
            if not folder.exists():
                with draft(folder) as work:
                    _unpack(work, title, packages)
    return folder


def _require(*commands: str) -> None:
    """Refuse a machine without Debian's package tools."""
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        raise SourceFailedError(f"not a Debian machine: no {', '.join(missing)}")


def _unpack(root: Path, title: str, packages: Packages) -> None:
    """Download the packages and unpack them into a folder that everybody may read."""
    source = debian_source(machine_sources(), packages.suite)
    say(f"downloading {title} from Debian's packages (some dozen MB, once) ...")
    apt = root / "apt"
    debs = apt / "debs"
    options = _private_apt(apt, source)
    run(["apt-get", *options, "--quiet", "update"], seconds=300)
    names = _with_dependencies(options, packages)
    run(["apt-get", *options, "--quiet", "download", *names], seconds=900, folder=debs)
    say(f"unpacking {len(names)} packages ...")
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "--extract", str(deb), str(root)], seconds=120)
    shutil.rmtree(apt)
    root.chmod(0o755)  # whoever runs the server is not always who unpacks it


def _private_apt(apt: Path, source: str) -> list[str]:
    """Lay out a package state apart from the machine's, and return the options that name it."""
    for name in ("sources", "lists/partial", "cache/archives/partial", "debs"):
        (apt / name).mkdir(parents=True)
    (apt / "sources" / "debian.sources").write_text(source, encoding="utf-8")
    (apt / "status").touch()  # nothing is installed: so every package is listed
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


def _with_dependencies(options: list[str], packages: Packages) -> list[str]:
    """List the packages and what is wanted of all that they depend on."""
    command = ["apt-cache", *options, "depends", "--recurse", *_ONLY_DEPENDS, *packages.names]
    lines = run(command, seconds=60).splitlines()
    return sorted({line for line in lines if re.match(r"\w", line) and packages.kept.match(line)})


def _program(root: Path, product: Product, packages: Packages) -> Program:
    """Call the unpacked program with the libraries that were unpacked with it."""
    path = next(root.glob(packages.program), None)
    if path is None:
        raise SourceFailedError(f"the unpacked packages in {root} lack a server; delete the folder")
    try:
        run(["test", "-x", str(path)], seconds=30, user=product.user)
    except SourceFailedError as error:
        raise SourceFailedError(
            f"{product.user} may not run {path}: let everybody into the folders above it, or let "
            "somebody else than root run the tests"
        ) from error
    return described(product, path, prefix=prefix_of(root), options=packages.options(root))


def prefix_of(root: Path) -> tuple[str, ...]:
    """Return the command that runs an unpacked program: the loader of an unpacked C library."""
    libraries = ":".join(map(str, (*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*"))))
    loader = next(root.glob("usr/lib/*/ld-linux*.so.*"), None)
    if loader is None:
        return ("/usr/bin/env", f"LD_LIBRARY_PATH={libraries}")
    return (str(loader), "--library-path", libraries)
