"""OpenTelemetry's spans and metrics of a checkpointer, a saver or a store."""

from collections.abc import Iterable
from time import time_ns
from typing import Any, Final
from weakref import ref

from sqlalchemy import URL

from threadlog.errors import MissingExtraError

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise MissingExtraError("opentelemetry-api", "otel") from error

from threadlog.events import (
    BatchSent,
    CallEnded,
    CommitLost,
    ConnectionAwaited,
    Event,
    TransactionRetried,
)
from threadlog.observing import client_of, observe, observers_of

__all__ = ["instrument"]

_NAME: Final = "threadlog"


def instrument(
    target: Any,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    thread_ids: bool = False,
) -> None:
    """Record spans and metrics of an open object; see `threadlog.observe`.

    Each call of a public method is a span of kind CLIENT, a child of the current span, with the
    attributes of OpenTelemetry's conventions for databases. The metrics are
    ``db.client.operation.duration``, ``db.client.connection.wait_time``,
    ``db.client.connection.count``, ``threadlog.transaction.retries``, ``threadlog.commits.lost``
    and ``threadlog.append.batch_size``. None of them has the text of a message.

    Args:
        target: an open `Checkpointer`, `SyncCheckpointer`, ``Saver`` or ``Store``.
        tracer_provider: the global one by default.
        meter_provider: the global one by default.
        thread_ids: whether spans have the attribute ``threadlog.thread_id``.

    Raises:
        NotOpenError: the object is not open.
        ConfigurationError: it is of another class.
    """
    client = client_of(target)
    source = (tracer_provider, meter_provider, thread_ids)
    for known in observers_of(client):  # of another object of one `Database`
        if isinstance(known, _Recorder) and known.source == source:
            observe(target, known)
            return
    observe(target, _Recorder(client, *source))


class _Recorder:
    """Turns events into spans and measurements."""

    def __init__(
        self,
        client: Any,
        tracer_provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
        thread_ids: bool,  # noqa: FBT001 - as in `source`
    ) -> None:
        self.source = (tracer_provider, meter_provider, thread_ids)
        self._tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
        self._thread_ids = thread_ids
        self._attributes = _attributes(client)
        self._calls = meter.create_histogram(
            "db.client.operation.duration", "s", "Duration of calls of threadlog's methods"
        )
        self._waits = meter.create_histogram(
            "db.client.connection.wait_time", "s", "Time that calls waited for a connection"
        )
        self._retries = meter.create_counter(
            "threadlog.transaction.retries", "{retry}", "Transactions that were run again"
        )
        self._lost = meter.create_counter(
            "threadlog.commits.lost", "{commit}", "Connections that were lost during COMMIT"
        )
        self._batches = meter.create_histogram(
            "threadlog.append.batch_size", "{append}", "Appends that share a transaction"
        )
        observed = ref(client)

        def count(_: CallbackOptions) -> Iterable[Observation]:
            return _connections(observed(), self._attributes)

        meter.create_observable_up_down_counter(
            "db.client.connection.count", [count], "{connection}", "Connections of the pools"
        )

    def __call__(self, event: Event) -> None:
        """Record an event."""
        match event:
            case CallEnded():
                self._record_call(event)
            case TransactionRetried(error):
                kind = {"error.type": type(error).__qualname__}
                self._retries.add(1, {**self._attributes, **kind})
            case CommitLost():
                self._lost.add(1, self._attributes)
            case BatchSent(appends):
                self._batches.record(appends, self._attributes)
            case ConnectionAwaited(seconds):
                self._waits.record(seconds, self._attributes)

    def _record_call(self, event: CallEnded) -> None:
        attributes = {**self._attributes, "db.operation.name": event.method}
        if event.error is not None:
            attributes["error.type"] = type(event.error).__qualname__
        self._calls.record(event.seconds, attributes)
        if self._thread_ids and event.thread_id is not None:
            attributes["threadlog.thread_id"] = event.thread_id
        ended = time_ns()
        span = self._tracer.start_span(
            f"{event.method} {self._attributes.get('db.namespace', _NAME)}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=ended - int(event.seconds * 1e9),
        )
        if event.error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)


def _attributes(client: Any) -> dict[str, str | int]:
    url: URL = getattr(client, "url", None) or client.bind.engine.url
    found = {
        "db.system.name": client.backend.name.lower(),
        "db.namespace": url.database,
        "server.address": url.host,
        "server.port": url.port,
    }
    return {name: value for name, value in found.items() if value is not None}


def _connections(client: Any, attributes: dict[str, str | int]) -> Iterable[Observation]:
    """Return the numbers of used and idle connections of the pools that threadlog owns."""
    engines = [getattr(client, name, None) for name in ("engine", "reading_engine")]
    pools: list[Any] = [engine.pool for engine in engines if engine is not None]
    counts = {
        "used": sum(pool.checkedout() for pool in pools),
        "idle": sum(pool.checkedin() for pool in pools),
    }
    key = "db.client.connection.state"
    return [Observation(count, {**attributes, key: state}) for state, count in counts.items()]
