"""Import conversations of other formats."""
