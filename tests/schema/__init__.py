"""Tests of checks and migrations."""
