"""OpenTelemetry's spans and metrics, read by the SDK's exporters in memory."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import make_url

from tests.support.commits import lost_commits
from tests.support.databases import engine_for, engines_of
from tests.support.factories import UserFactory
from threadlog import Checkpointer
from threadlog.errors import RunAlreadyClaimedError
from threadlog.otel import instrument


class Telemetry:
    """Providers, and what they have exported."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meters = MeterProvider([self.reader])

    def finished(self) -> tuple[Any, ...]:
        """Return the spans in the order in which they ended."""
        return self.spans.get_finished_spans()

    def points(self) -> dict[str, list[Any]]:
        """Return the points of each metric by its name."""
        data: Any = self.reader.get_metrics_data()
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Yield providers of the test's own."""
    made = Telemetry()
    yield made
    made.meters.shutdown()
    made.tracers.shutdown()


async def test_calls_are_spans_with_the_conventions_attributes(
    database_url: str, telemetry: Telemetry
) -> None:
    async with Checkpointer(database_url) as checkpointer:
        instrument(checkpointer, tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)
        with telemetry.tracers.get_tracer("app").start_as_current_span("request"):
            await checkpointer.append("t", [UserFactory()])
        await checkpointer.claim_run("t", "r")
        with pytest.raises(RunAlreadyClaimedError):
            await checkpointer.claim_run("t", "r")
    append, request, claimed, refused = telemetry.finished()
    url = make_url(database_url)
    assert append.kind is SpanKind.CLIENT
    assert append.name == f"append {url.database}"
    assert append.parent == request.context
    assert append.start_time < append.end_time <= request.end_time
    wanted = {
        "db.system.name": url.get_backend_name(),
        "db.operation.name": "append",
        "db.namespace": url.database,
        "server.address": url.host,
        "server.port": url.port,
    }
    assert append.attributes == {name: found for name, found in wanted.items() if found}
    assert (claimed.status.status_code, claimed.parent) == (StatusCode.UNSET, None)
    assert refused.status.status_code is StatusCode.ERROR
    assert refused.attributes["error.type"] == "RunAlreadyClaimedError"
    points = telemetry.points()
    durations = points["db.client.operation.duration"]
    assert sorted((p.attributes["db.operation.name"], p.count) for p in durations) == [
        ("append", 1),
        ("claim_run", 1),
        ("claim_run", 1),
    ]
    (batch,) = points["threadlog.append.batch_size"]
    assert (batch.count, batch.sum) == (1, 1)


@pytest.mark.one_database
async def test_thread_ids_are_attributes_when_asked_for(
    database_url: str, telemetry: Telemetry
) -> None:
    async with Checkpointer(database_url) as checkpointer:
        instrument(
            checkpointer,
            tracer_provider=telemetry.tracers,
            meter_provider=telemetry.meters,
            thread_ids=True,
        )
        await checkpointer.append("order-17", [UserFactory()])
    (span,) = telemetry.finished()
    assert span.attributes["threadlog.thread_id"] == "order-17"
    (duration,) = telemetry.points()["db.client.operation.duration"]
    assert "threadlog.thread_id" not in duration.attributes


async def test_retries_lost_commits_waits_and_connections_are_metrics(
    server_url: str, telemetry: Telemetry
) -> None:
    engine = engine_for(server_url, isolation_level="AUTOCOMMIT")
    async with (
        engine.connect() as other,
        Checkpointer(server_url, max_pool_size=1) as checkpointer,
    ):
        await checkpointer.append("t", [UserFactory()])
        instrument(checkpointer, tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)
        with lost_commits(engines_of(checkpointer)[0], other, arrives=False):
            await checkpointer.append("t", UserFactory.build_batch(2))
        await asyncio.gather(*(checkpointer.load("t") for _ in range(3)))
        points = telemetry.points()
    await engine.dispose()
    (retry,) = points["threadlog.transaction.retries"]
    assert (retry.value, retry.attributes["error.type"]) == (1, "ConnectionLostError")
    (lost,) = points["threadlog.commits.lost"]
    assert lost.value == 1
    (wait,) = points["db.client.connection.wait_time"]
    assert wait.count >= 1
    counts = {
        point.attributes["db.client.connection.state"]: point.value
        for point in points["db.client.connection.count"]
    }
    assert counts == {"used": 0, "idle": 1}
