"""The versions of the schema, frozen."""
