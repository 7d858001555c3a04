"""Tests of exports, and of reading them back."""
