"""Tests of the tools for applications' tests."""
