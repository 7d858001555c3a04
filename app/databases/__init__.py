"""Differences between databases: one module or package for each kind, chosen by `registry`."""
