"""A private MySQL for people: ``python -m tests.servers.mysql`` prints its URL."""

import sys

from tests.servers.products import MYSQL
from tests.servers.serving import main

if __name__ == "__main__":
    sys.exit(main(MYSQL))
