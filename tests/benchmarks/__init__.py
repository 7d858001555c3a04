"""Tests of the benchmark, in its own environment: make bench-check."""
