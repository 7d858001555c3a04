"""The pieces of work that are measured."""
