"""Embeddings of the texts of items, by the application's embedding function."""

from collections.abc import Sequence
from typing import Any

from langgraph.store.base import IndexConfig, PutOp, ensure_embeddings, get_text_at_path

from threadlog.encoding.validation import check_count
from threadlog.errors import ConfigurationError, InvalidInputError
from threadlog.graph.vectors import Vector, unit_vector

Numbers = Sequence[Sequence[float]]


class TextIndex:
    """The texts of items that are embedded, and the embeddings."""

    def __init__(self, config: IndexConfig) -> None:
        """Check a configuration of LangGraph's.

        Raises:
            ConfigurationError: `dims` or `embed` is missing or cannot be used, or `fields` is no
                list of paths.
        """
        missing = [name for name in ("dims", "embed") if not config.get(name)]
        if missing:
            raise ConfigurationError(f"index= has no {missing[0]!r}. It needs 'dims' and 'embed'.")
        check_count(config["dims"], "dims", least=1)
        self.dims = config["dims"]
        self._fields = config.get("fields") or ["$"]
        if not _is_list_of_paths(self._fields):
            raise ConfigurationError(
                f"'fields' of index= must be a list of paths, not {self._fields!r}."
            )
        try:
            self._embeddings = ensure_embeddings(config["embed"])
        except ValueError as error:
            raise ConfigurationError(f"'embed' of index= cannot be used: {error}") from error

    def texts_of(self, op: PutOp, value: Any) -> list[str]:
        """Return the texts of an item to embed.

        Args:
            op: the operation, which may name other fields than the configuration.
            value: the item's value.

        Raises:
            InvalidInputError: `index` of the operation is neither False nor a list of paths.
        """
        if op.index is False:
            return []
        fields = self._fields if op.index is None else op.index
        if not _is_list_of_paths(fields):
            raise InvalidInputError("index must be None, False or a list of paths.")
        return [text for path in fields for text in get_text_at_path(value, path)]

    def embed(self, texts: list[str], queries: list[str]) -> list[Vector]:
        """Embed texts in one call, and each query in one; return all vectors in order."""
        found: list[Any] = self._embeddings.embed_documents(texts) if texts else []
        return self._checked(texts, found, [self._embeddings.embed_query(q) for q in queries])

    async def aembed(self, texts: list[str], queries: list[str]) -> list[Vector]:
        """See `embed`."""
        found: list[Any] = await self._embeddings.aembed_documents(texts) if texts else []
        asked = [await self._embeddings.aembed_query(query) for query in queries]
        return self._checked(texts, found, asked)

    def _checked(self, texts: list[str], found: Numbers, asked: Numbers) -> list[Vector]:
        if len(found) != len(texts):
            raise InvalidInputError(
                f"The embedding function returned {len(found)} vectors for {len(texts)} texts. It "
                "must return one for each."
            )
        return [unit_vector(numbers, self.dims) for numbers in (*found, *asked)]


def _is_list_of_paths(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(path, str) for path in value)
