"""A private MariaDB for people: ``python -m tests.support.servers.mariadb`` prints its URL."""

import sys

from tests.support.servers.products import MARIADB
from tests.support.servers.serving import main

if __name__ == "__main__":
    sys.exit(main(MARIADB))
