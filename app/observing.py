"""Report the calls, retries, batches and waits of a checkpointer, a saver or a store."""

import inspect
import logging
import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final

from threadlog.errors import ConfigurationError
from threadlog.events import CallEnded, Event, OnEvent
from threadlog.runtime.external import not_open

_LOG: Final = logging.getLogger(__name__)

# They send nothing, or only begin what other methods do.
_NOT_CALLS: Final = {
    "bind",
    "scoped",
    "get_next_version",
    "start_ttl_sweeper",
    "stop_ttl_sweeper",
    "setup",
}


def observe(target: Any, on_event: OnEvent) -> None:
    """Report what an open object does to a function, for metrics and traces.

    The events are those of `threadlog.events`; what ``bind()`` and ``scoped()`` return afterwards
    reports its calls too. Several functions may observe one object; `threadlog.otel.instrument` is
    one of them. Call it inside the block::

        async with Checkpointer(url) as checkpointer:
            observe(checkpointer, on_event)

    Without it no call pays anything. An error that the function raises is logged, and changes
    nothing else. It must not wait: it runs in the event loop, or in the thread of the call.

    Args:
        target: an open `Checkpointer` or `SyncCheckpointer`, or a ``Saver`` or ``Store`` of
            `threadlog.langgraph`.
        on_event: gets each event.

    Raises:
        NotOpenError: the object is not open.
        ConfigurationError: it is of another class, or the function is a coroutine function.
    """
    if inspect.iscoroutinefunction(on_event):
        raise ConfigurationError(
            "on_event is a coroutine function, which nobody would await. Pass a plain function; it "
            "may put the event into a queue."
        )
    client = client_of(target)
    known = observers_of(client)
    client.on_event = Observers(known if on_event in known else (*known, on_event))
    report = Observers((on_event,))
    _time_calls(target, report)


class Observers:
    """Calls functions with each event."""

    def __init__(self, functions: tuple[OnEvent, ...]) -> None:
        self.functions = functions

    def __call__(self, event: Event) -> None:
        """Pass on an event; an error of a function is logged."""
        for on_event in self.functions:
            try:
                on_event(event)
            except Exception:  # noqa: BLE001 - whatever it is, the call must go on
                _LOG.exception("on_event raised an error")


def observers_of(client: Any) -> tuple[OnEvent, ...]:
    """Return the functions that observe a client."""
    return client.on_event.functions if isinstance(client.on_event, Observers) else ()


def client_of(target: Any) -> Any:
    """Return the client that has the connections of an object.

    Raises:
        NotOpenError: the object is not open.
        ConfigurationError: it is not of a class of threadlog's.
    """
    if hasattr(target, "client"):
        if not target.is_open:
            raise not_open(target.client)
        return target.client
    if hasattr(target, "_opened"):
        return target._opened().operations  # noqa: SLF001 - for this module only
    raise ConfigurationError(
        f"{type(target).__name__} cannot be observed. Pass a Checkpointer, a SyncCheckpointer, a "
        "Saver or a Store."
    )


def _time_calls(target: Any, report: OnEvent) -> None:
    """Replace the methods of an object by methods that report their calls."""
    for name in _methods(type(target)):
        method = getattr(target, name)
        wrap = _timed_async if inspect.iscoroutinefunction(method) else _timed
        setattr(target, name, wrap(name, method, report))
    for name in ("bind", "scoped"):
        if hasattr(target, name):
            setattr(target, name, _timed_result(getattr(target, name), report))


_CLAIMS: Final = {"claim_write_ownership", "aclaim_write_ownership"}
"""Calls whose result is an object whose calls are reported too."""


def _timed_result(make: Callable[[Any], Any], report: OnEvent) -> Callable[[Any], Any]:
    """Return a function that returns an object like `make`, whose calls are reported too."""

    @wraps(make)
    def make_and_time(argument: Any) -> Any:
        made = make(argument)
        _time_calls(made, report)
        return made

    return make_and_time


def _methods(class_: type) -> Iterator[str]:
    """Yield the names of the public methods of threadlog's that return no iterator."""
    for name, member in inspect.getmembers(class_, inspect.isfunction):
        owner = next(base for base in class_.__mro__ if name in vars(base))
        iterates = inspect.isgeneratorfunction(member) or inspect.isasyncgenfunction(member)
        is_ours = owner.__module__.startswith("threadlog")
        if is_ours and not iterates and not name.startswith("_") and name not in _NOT_CALLS:
            yield name


def _timed(name: str, method: Callable[..., Any], report: OnEvent) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        began, error = time.perf_counter(), None
        try:
            result = method(*args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            seconds = time.perf_counter() - began
            report(CallEnded(name, _thread_id(name, args, kwargs), seconds, error))
        if name in _CLAIMS:
            _time_calls(result, report)
        return result

    return call


def _timed_async(name: str, method: Callable[..., Any], report: OnEvent) -> Callable[..., Any]:
    @wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        began, error = time.perf_counter(), None
        try:
            result = await method(*args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            seconds = time.perf_counter() - began
            report(CallEnded(name, _thread_id(name, args, kwargs), seconds, error))
        if name in _CLAIMS:
            _time_calls(result, report)
        return result

    return call


_WITHOUT_THREAD: Final = {"erase_owner"}
"""Calls whose first argument is a text and no thread's id."""


def _thread_id(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Return the thread of a call: an argument, or in a config of LangGraph's."""
    if name in _WITHOUT_THREAD:
        return None
    first = args[0] if args else kwargs.get("thread_id", kwargs.get("config"))
    if isinstance(first, dict):
        configurable = first.get("configurable")
        first = configurable.get("thread_id") if isinstance(configurable, dict) else None
    return first if isinstance(first, str) else None
