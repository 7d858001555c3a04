"""Tests of what one kind of database has alone."""
