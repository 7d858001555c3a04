"""Statements on a server's threads and runs."""
