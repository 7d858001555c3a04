"""Statements on the message log."""
