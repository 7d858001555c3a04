"""Tests of the persistence of an agent server."""
