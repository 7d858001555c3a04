"""Statements on threads and runs of an agent server."""
