"""Database servers for tests: found on the machine, or fetched, started and stopped."""
