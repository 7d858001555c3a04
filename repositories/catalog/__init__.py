"""Statements on the server and its tables."""
