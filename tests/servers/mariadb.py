"""A private MariaDB for people: ``python -m tests.servers.mariadb`` prints its URL."""

import sys

from tests.servers.products import MARIADB
from tests.servers.serving import main

if __name__ == "__main__":
    sys.exit(main(MARIADB))
