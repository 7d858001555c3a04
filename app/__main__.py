"""The command line's way in: ``threadlog`` and ``python -m threadlog``."""

import sys
from typing import Final

from threadlog.errors import MissingExtraError

_PACKAGES: Final = ("typer", "rich", "click")


def main() -> None:
    """Run the command line; needs the extra ``cli``."""
    try:
        from threadlog.cli import app, prepare_stdout  # noqa: PLC0415 - its packages are optional
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        sys.stderr.write(f"{MissingExtraError(package, 'cli')}\n")
        sys.exit(2)
    prepare_stdout()
    app(prog_name="threadlog")


if __name__ == "__main__":
    main()
