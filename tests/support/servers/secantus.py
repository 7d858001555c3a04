"""SecantusDB, a server with MongoDB's protocol, run with options of mongod.

``python secantus.py --dbpath FOLDER --port PORT --bind_ip HOST`` with its wheels on PYTHONPATH.
"""

import argparse
import os
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path


def main() -> int:
    """Print the version, or serve until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", action="store_true")
    for option in ("--dbpath", "--port", "--bind_ip", "--pidfilepath", "--replSet"):
        parser.add_argument(option)
    parser.add_argument("--journalCommitInterval", type=int)
    options = parser.parse_args()
    if options.version:
        protocol = import_module("secantus.commands").SERVER_VERSION
        sys.stdout.write(f"db version v{protocol} of SecantusDB {version('secantusdb')}\n")
        return 0
    Path(options.pidfilepath).write_text(str(os.getpid()), encoding="utf-8")
    arguments = ["--host", options.bind_ip, "--port", options.port]
    arguments += ["--storage-path", options.dbpath, "--cache-size", "256M"]
    arguments += ["--sync-on-commit"] if options.journalCommitInterval else []
    arguments += [] if options.replSet else ["--standalone"]
    sys.argv[1:] = arguments
    return int(import_module("secantus.cli").main() or 0)


if __name__ == "__main__":
    sys.exit(main())
