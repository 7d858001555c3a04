"""A private Redis for people: ``python -m tests.support.servers.redis`` prints its URL."""

import sys

from tests.support.servers.products import REDIS
from tests.support.servers.serving import main

if __name__ == "__main__":
    sys.exit(main(REDIS))
