"""Tests of the saver by itself; those with compiled graphs are in tests/graphs."""
