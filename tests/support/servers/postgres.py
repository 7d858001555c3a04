"""A private PostgreSQL for people: ``python -m tests.support.servers.postgres`` prints its URL."""

import sys

from tests.support.servers.products import POSTGRES
from tests.support.servers.serving import main

if __name__ == "__main__":
    sys.exit(main(POSTGRES))
