"""Owners of threads, and checkpointers of one owner."""
