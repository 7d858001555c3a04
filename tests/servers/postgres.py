"""A private PostgreSQL for people: ``python -m tests.servers.postgres`` prints its URL."""

import sys

from tests.servers.products import POSTGRES
from tests.servers.serving import main

if __name__ == "__main__":
    sys.exit(main(POSTGRES))
