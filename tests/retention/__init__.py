"""Tests of the retention of the message log."""
