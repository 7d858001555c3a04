"""Tests of graph state."""
