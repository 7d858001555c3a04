"""Copying from one database to another."""
