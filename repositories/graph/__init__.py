"""Statements on graph state."""
