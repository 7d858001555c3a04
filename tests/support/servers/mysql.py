"""A private MySQL for people: ``python -m tests.support.servers.mysql`` prints its URL."""

import sys

from tests.support.servers.products import MYSQL
from tests.support.servers.serving import main

if __name__ == "__main__":
    sys.exit(main(MYSQL))
