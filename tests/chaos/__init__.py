"""Tests that break things, and count what is left. Run them with: make chaos."""
