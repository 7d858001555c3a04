"""Erase threads and owners from all parts of the schema, verified and counted."""

from threadlog.erasing.erase import Erased, Forks, NamespacePrefix, OwnerErasure

__all__ = ["Erased", "Forks", "NamespacePrefix", "OwnerErasure"]
