"""threadlog's databases for servers of the skeino package, 4.0.0.

Before creating the application::

    import threadlog.skeino

    threadlog.skeino.register()

Then ``SkeinoSettings(checkpointer_scheme="mysql", checkpointer_uri="mysql://…")`` stores
checkpoints, threads and runs in that database, on one engine.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from functools import wraps
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar

from threadlog.errors import (
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
    RunAlreadyExistsError,
    ThreadAlreadyExistsError,
    ThreadNotFoundError,
)
from threadlog.persistence import CheckpointerSpec, MetadataStore, Persistence
from threadlog.persistence.expire_threads import expiring
from threadlog.persistence.open import sweeping
from threadlog.persistence.schemes import (
    mongodb_checkpointer,
    native_client,
    sharing_client,
)

if TYPE_CHECKING:  # an extra
    from langgraph.checkpoint.base import BaseCheckpointSaver

P = ParamSpec("P")
T = TypeVar("T")

__all__ = ["SCHEMES", "register"]

SCHEMES: Final = ("mysql", "mariadb", "mongodb", "mongo")
"""The schemes that skeino lacks, and MongoDB's, whose own metadata store needs a deprecated driver,
ignores metadata in searches and expires no thread."""

_MONGODB: Final = ("mongodb", "mongo")

_CALLED: Final = (
    *("create_thread", "update_thread", "fetch_thread_row", "search_thread_rows"),
    *("delete_thread", "create_run", "fetch_run_row", "list_run_rows", "delete_run"),
)
"""The methods whose errors are the client's mistakes."""

_PROBE: Final = "threadlog-probe"


def register(*, ttl_sweep_seconds: float | None = 60.0) -> None:
    """Add the schemes ``mysql`` and ``mariadb`` to skeino, and replace ``mongodb``; idempotent.

    All applications of this process have them, also those created before. Their
    ``checkpointer_options`` are those of `open_checkpointer`. The data of ``mongodb`` stays
    where skeino has it. skeino's other schemes are unchanged.

    Args:
        ttl_sweep_seconds: seconds between an application's sweeps of expired threads; None
            for no sweep.

    Raises:
        MissingExtraError: skeino is not installed.
        ConfigurationError: this release of skeino lacks an attribute that threadlog needs.
            Nothing was added.
    """
    register_checkpointer, metadata_stores = _seams()
    for scheme in SCHEMES:
        register_checkpointer(scheme)(_checkpointer_of(ttl_sweep_seconds))
        metadata_stores[scheme] = _metadata_store


# --- skeino's internals ------------------------------------------------------------


def _seams() -> tuple[Callable[[str], Callable[[Any], Any]], dict[str, Callable[[str], Any]]]:
    """Return skeino's registration of checkpointers, and its metadata stores by scheme."""
    try:
        persistence = import_module("skeino.persistence")
        app = import_module("skeino.app")
    except ModuleNotFoundError as error:
        missing = error.name or "skeino"
        if missing.startswith("skeino."):
            raise _unknown(f"the module {missing}") from error
        raise MissingExtraError(missing.partition(".")[0], "skeino") from error
    register_checkpointer = _attribute(persistence, "register_checkpointer")
    stores = _attribute(app, "_NATIVE_METADATA_STORES")
    create_app = _attribute(app, "create_app")
    for name in ("open_checkpointer", "_resolve_metadata_store", "_check_metadata_durability"):
        _attribute(app, name)
        if name not in set(_names(create_app.__code__)):
            raise _unknown(f"a create_app() that calls {name}()")
    if app.open_checkpointer is not _attribute(persistence, "open_checkpointer"):
        raise _unknown("one open_checkpointer()")
    _check_resolving(app, stores)
    return register_checkpointer, stores


def _attribute(module: Any, name: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise _unknown(f"{module.__name__}.{name}") from error


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that a function uses, inner functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _check_resolving(app: Any, stores: Any) -> None:
    """Check that skeino resolves an added metadata store, and accepts it as durable."""
    made = object()
    try:
        stores[_PROBE] = lambda uri: made if uri == _PROBE else None
        settings = app.SkeinoSettings(checkpointer_scheme=_PROBE, checkpointer_uri=_PROBE)
        app._check_metadata_durability(settings)  # noqa: SLF001 - the seam, see above
        found = app._resolve_metadata_store(settings)  # noqa: SLF001 - the seam, see above
    except Exception as error:
        raise _unknown("a metadata store for each scheme") from error
    finally:
        if isinstance(stores, dict):
            stores.pop(_PROBE, None)
    if found is not made:
        raise _unknown("a metadata store for each scheme")


def _unknown(seam: str) -> ConfigurationError:
    try:
        found = version("skeino")
    except PackageNotFoundError:
        found = "of an unknown version"
    return ConfigurationError(
        f"skeino {found} lacks {seam}, which threadlog's schemes need. Run: pip install "
        "'skeino==4.0.0', or upgrade threadlog."
    )


# --- Builders for skeino -----------------------------------------------------------


class _Opened(NamedTuple):
    """The metadata store of an application, which is opened with its checkpointer."""

    uri: str | None
    store: Any


# skeino opens the checkpointer and then creates the metadata store, in one task for each
# application, and passes only the URI to the second.
_OPENED: Final[ContextVar[_Opened | None]] = ContextVar("threadlog.skeino", default=None)


def _checkpointer_of(
    ttl_sweep_seconds: float | None,
) -> Callable[[Any], AbstractAsyncContextManager["BaseCheckpointSaver[Any]"]]:
    @asynccontextmanager
    async def build(spec: Any) -> AsyncIterator["BaseCheckpointSaver[Any]"]:
        ours = CheckpointerSpec(spec.scheme, spec.uri, dict(spec.options))
        is_sql = ours.scheme not in _MONGODB
        async with (
            _opened_sql(ours) if is_sql else _opened_mongodb(ours) as persistence,
            sweeping(expiring(persistence, separate=not is_sql), ttl_sweep_seconds),
        ):
            _OPENED.set(_Opened(spec.uri, persistence.metadata_store))
            try:
                yield persistence.checkpointer
            finally:
                _OPENED.set(None)

    return build


@asynccontextmanager
async def _opened_sql(spec: CheckpointerSpec) -> AsyncIterator[Persistence]:
    from threadlog.langgraph import Saver  # noqa: PLC0415 - an extra

    async with native_client(spec) as client:
        rows = await sharing_client(client, spec)
        saver = Saver(client=client, serde=spec.options.get("serde"))
        yield Persistence(saver, _store_of(MetadataStore)(client=rows))


@asynccontextmanager
async def _opened_mongodb(spec: CheckpointerSpec) -> AsyncIterator[Persistence]:
    async with mongodb_checkpointer(spec) as saver:
        from threadlog.persistence import MongoMetadataStore  # noqa: PLC0415 - an extra

        store = _store_of(MongoMetadataStore)(spec.uri)
        await MongoMetadataStore.setup(store)
        try:
            yield Persistence(saver, store)
        finally:
            await MongoMetadataStore.aclose(store)


def _metadata_store(uri: str) -> Any:
    opened = _OPENED.get()
    if opened is None or opened.uri != uri:
        raise _unknown("a checkpointer that is opened before the metadata store is made")
    return opened.store


def _with_http_errors(method: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Convert errors to the HTTP status of skeino's own stores, or a more specific one."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        from fastapi import HTTPException  # noqa: PLC0415 - installed with skeino

        try:
            return await method(*args, **kwargs)
        except (ThreadAlreadyExistsError, RunAlreadyExistsError) as error:
            raise HTTPException(409, str(error)) from error
        except ThreadNotFoundError as error:
            raise HTTPException(404, str(error)) from error
        except InvalidInputError as error:
            raise HTTPException(422, str(error)) from error

    return call


async def _do_nothing(store: Any) -> None:
    """Do nothing: the builder of the checkpointer opens and closes the store."""


def _store_of(kind: type[Any]) -> type[Any]:
    """Return a metadata store's class with skeino's HTTP errors."""
    methods = {name: _with_http_errors(getattr(kind, name)) for name in _CALLED}
    return type("_Store", (kind,), {**methods, "setup": _do_nothing, "aclose": _do_nothing})
