"""A mysqld that is started again when it dies, as a service manager would."""

import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.servers import mysqld


class _Keeper(threading.Thread):
    """Starts a server again, on its port and data, until told to stop."""

    def __init__(self, command: Sequence[str], folder: Path, *, durable: bool) -> None:
        super().__init__(daemon=True)
        self._command = command
        self._folder = folder
        self._options = mysqld.settings(durable=durable)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.port, self._process = mysqld._start(command, folder, self._options)

    def run(self) -> None:
        while True:
            self._process.wait()
            if not self._again():
                return

    def stop(self) -> None:
        with self._lock:
            self._stopping.set()
            mysqld._stop(self._process)

    def _again(self) -> bool:
        # Not while it is being stopped, and not in a tight circle where it cannot start.
        if self._stopping.wait(0.1):
            return False
        with self._lock:
            if self._stopping.is_set():
                return False
            self._process = mysqld._spawn(self._command, self._folder, self.port, self._options)
            return True


@contextmanager
def restarting_mysqld(
    *, command: Sequence[str], data: str, durable: bool, parent: str | None = None
) -> Iterator[dict[str, str]]:
    """Run a mysqld on a copy of a data folder, and again on the same port when it died.

    Args:
        command: a program's command.
        data: the data folder to copy.
        durable: see `mysqld.settings`.
        parent: the folder to copy it to; None for the system's folder of temporary files.

    Yields:
        The server's URL, its data folder, and the file that holds its process id.

    Raises:
        SourceFailedError: it does not start the first time.
    """
    folder = Path(tempfile.mkdtemp(prefix="threadlog-mysql-", dir=parent))
    try:
        shutil.copytree(data, folder / "data")
        keeper = _Keeper(command, folder, durable=durable)
        keeper.start()
        try:
            yield {
                "url": f"mysql://root@{mysqld.HOST}:{keeper.port}/",
                "data_folder": str(folder / "data"),
                "pid_file": str(folder / "pid"),
            }
        finally:
            keeper.stop()
            keeper.join()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
