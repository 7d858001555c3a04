"""Tests of threadlog, on SQLite and on a real MySQL."""
