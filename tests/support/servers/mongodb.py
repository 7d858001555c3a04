"""A private MongoDB for people: ``python -m tests.support.servers.mongodb`` prints its URL."""

import sys

from tests.support.servers.products import MONGODB
from tests.support.servers.serving import main

if __name__ == "__main__":
    sys.exit(main(MONGODB))
