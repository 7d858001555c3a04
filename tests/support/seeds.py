"""Seeds of the random in tests."""

import os
import random
from typing import Final

FRESH: Final = int(os.environ.setdefault("THREADLOG_SEED", str(random.randrange(10**9))))
"""A seed of this run's own, or the one of an earlier run that THREADLOG_SEED gives.

In the environment, so that processes which run tests side by side all have the same: they
compare the names of their tests, in which it stands.
"""
