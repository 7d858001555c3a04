"""Namespaces of the memory store, as arguments of exports and erasures."""

from collections.abc import Sequence

from threadlog.encoding.validation import check_name
from threadlog.errors import InvalidInputError
from threadlog.repositories.graph.store_item import SEPARATOR, namespace_text


def stored_prefixes(namespaces: object, name: str) -> list[str]:
    """Return the first labels of namespaces as they are stored, without those below others.

    Args:
        namespaces: a list of namespaces, each a list of labels.
        name: the argument's name in errors.

    Raises:
        InvalidInputError: one is not a list of labels, or is empty: all items are below it.
    """
    if isinstance(namespaces, str) or not isinstance(namespaces, Sequence):
        raise InvalidInputError(f"{name} must be a list of namespaces, such as [('users', '42')].")
    found = set[str]()
    for place, labels in enumerate(namespaces):
        if isinstance(labels, str) or not isinstance(labels, Sequence) or not labels:
            raise InvalidInputError(
                f"{name}[{place}] is {labels!r}, which is not a namespace. Write it as a tuple of "
                "its first labels, such as ('users', '42')."
            )
        for label in labels:
            check_name(label, f"{name}[{place}]")
            if not label or SEPARATOR in label:
                raise InvalidInputError(
                    f"{name}[{place}] has the label {label!r}. A label must be text without "
                    f"{SEPARATOR!r}, and not empty."
                )
        found.add(namespace_text(labels))
    # The separator ends each label, so that below a prefix are whole labels.
    return [one for one in sorted(found) if not any(one != p and one.startswith(p) for p in found)]
