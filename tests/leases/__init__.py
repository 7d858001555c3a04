"""Tests of leases of runs."""
