"""Tests of events, spans and metrics."""
