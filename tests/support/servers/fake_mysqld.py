"""Stands in for mysqld where only its starting and stopping is tested: it greets, and no more."""

import os
import socket
import sys
from pathlib import Path

_GREETING = b"\x0a8.4.0-fake\0"


def main(arguments: list[str]) -> int:
    """Greet whoever connects, for ever, unless the data folder says how to fail.

    Args:
        arguments: options as mysqld has them.

    Returns:
        The exit status.
    """
    options = dict(argument.partition("=")[::2] for argument in arguments)
    failure = Path(options["--datadir"]) / "failure"
    if failure.exists():
        sys.stderr.write(failure.read_text(encoding="utf-8"))
        failure.unlink()  # the next start works
        return 1
    Path(options["--pid-file"]).write_text(str(os.getpid()), encoding="utf-8")
    with socket.create_server((options["--bind-address"], int(options["--port"]))) as listener:
        sys.stderr.write("ready for connections\n")
        sys.stderr.flush()
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(len(_GREETING).to_bytes(3, "little") + b"\0" + _GREETING)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
