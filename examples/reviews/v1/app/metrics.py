"""Prometheus metrics: requests by status, their latency, and the database pool."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.version import RELEASE, REVISION, VERSION

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

requests = Counter("http_requests_total", "Requests answered", ["status", "release"])
_latency = Histogram("http_request_duration_seconds", "Time to the last byte", ["release"], buckets=_BUCKETS)
latency = _latency.labels(RELEASE)
_pool_used = Gauge("db_pool_connections_used", "Connections in use", multiprocess_mode="livesum")
_pool_size = Gauge("db_pool_connections_max", "Connections allowed", multiprocess_mode="livesum")
_info = Gauge("app_info", "What runs here", ["version", "revision", "release"], multiprocess_mode="livemax")


def watch_pool(engine: AsyncEngine) -> None:
    """Keep the gauges of this process's pool up to date."""
    _info.labels(VERSION, REVISION, RELEASE).set(1)
    _pool_size.set(engine.pool.size())
    event.listen(engine.sync_engine, "checkout", lambda *_: _pool_used.inc())
    event.listen(engine.sync_engine, "checkin", lambda *_: _pool_used.dec())


def render() -> bytes:
    """All workers' numbers, added up, as text."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)
