"""A command that keeps a server running for people.

It prints the URL of a database with threadlog's schema and stops the server on Ctrl-C.
"""

import argparse
import asyncio
import signal
import sys
from types import FrameType
from typing import NoReturn

from sqlalchemy import make_url

from tests.support.databases import create_database
from tests.support.servers.error import ServerUnavailableError
from tests.support.servers.product import Product
from tests.support.servers.products import PRODUCTS
from tests.support.servers.server import running_server


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Treat a signal as Ctrl-C."""
    raise KeyboardInterrupt


def _serve(product: Product, *, durable: bool) -> None:
    """Start a server, say where it is, and wait."""
    with running_server(product, durable=durable) as server:
        url = make_url(server.url)
        if product.name in PRODUCTS:
            url = asyncio.run(create_database(server.url, "threadlog"))
        sys.stderr.write(f"{product.title} from {server.source}; Ctrl-C stops it\n")
        sys.stdout.write(url.render_as_string(hide_password=False) + "\n")
        sys.stdout.flush()
        signal.pause()


def main(product: Product) -> int:
    """Serve until interrupted, and return the exit status."""
    command = f"python -m tests.support.servers.{product.name}"
    parser = argparse.ArgumentParser(prog=command, epilog=product.remedy)
    parser.add_argument("--durable", action="store_true", help="commits wait for the disk")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    # Shells that are not interactive have what they start in the background ignore it.
    signal.signal(signal.SIGINT, _interrupt)
    try:
        _serve(product, durable=options.durable)
    except KeyboardInterrupt:
        return 0
    except ServerUnavailableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
