"""Tests of erasing threads and owners."""
