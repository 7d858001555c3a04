"""Who runs a server: some refuse to be run by root."""

import os
import pwd
import shutil
from pathlib import Path
from typing import Any


def as_user(name: str | None) -> dict[str, Any]:
    """Return the arguments of `subprocess` that run a process as another user.

    Args:
        name: who is to run it where root asks; None for root. Whoever else asks runs it.
    """
    if name is None or os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(name)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def hand_over(folder: Path, name: str | None) -> None:
    """Make a folder and all that is in it theirs whom `as_user` names."""
    owner = as_user(name)
    if owner:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, owner["user"], owner["group"])
