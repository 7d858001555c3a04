"""A server that is started again when it dies, as a service manager would."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import process
from tests.support.servers.product import Product
from tests.support.servers.products import EVERY_PRODUCT


class _Keeper(threading.Thread):
    """Starts a server again, on its port and data, until told to stop."""

    def __init__(
        self,
        product: Product,
        command: Sequence[str],
        folder: Path,
        *,
        durable: bool,
        away_seconds: float,
    ) -> None:
        super().__init__(daemon=True)
        self._product = product
        self._command = command
        self._folder = folder
        self._options = product.settings(durable)
        self._away_seconds = away_seconds
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.port, self._process = process._start(product, command, folder, self._options)

    def run(self) -> None:
        while True:
            self._process.wait()
            if not self._again():
                return

    def stop(self) -> None:
        with self._lock:
            self._stopping.set()
            process._stop(self._product, self._process)

    def _again(self) -> bool:
        # Not while it is being stopped, and not in a tight circle where it cannot start.
        if self._stopping.wait(self._away_seconds):
            return False
        with self._lock:
            if self._stopping.is_set():
                return False
            self._process = process._spawn(
                self._product, self._command, self._folder, self.port, self._options
            )
            return True


@contextmanager
def restarting_process(
    *,
    product: str,
    command: Sequence[str],
    data: str,
    durable: bool,
    parent: str | None = None,
    away_seconds: float = 0.1,
) -> Iterator[dict[str, str]]:
    """Run a server on a copy of a data folder, and again on the same port when it died.

    Args:
        product: the server's name.
        command: a program's command.
        data: the data folder to copy.
        durable: see `Product.settings`.
        parent: the folder to copy it to; None for the system's folder of temporary files.
        away_seconds: how long to wait before it is started again.

    Yields:
        The server's URL, its data folder, and the file that holds its process id.

    Raises:
        SourceFailedError: it does not start the first time.
    """
    server = EVERY_PRODUCT[product]
    with process.copied_data(server, data, parent) as folder:
        keeper = _Keeper(server, command, folder, durable=durable, away_seconds=away_seconds)
        keeper.start()
        try:
            yield {
                "url": server.url(keeper.port),
                "data_folder": str(folder / "data"),
                "pid_file": str(folder / "pid"),
            }
        finally:
            keeper.stop()
            keeper.join()
