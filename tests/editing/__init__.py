"""Tests of conditional appends, pages, forks at a message, and truncations."""
