"""What a server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of what `Metrics.text` gives."""

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "semsearch_requests_total",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "semsearch_request_seconds",
            "Time from a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.batch = Histogram(
            "semsearch_search_batch_size",
            "Searches that were answered together.",
            buckets=_SIZES,
            registry=self._registry,
        )
        self.documents_written = Counter(
            "semsearch_documents_written_total",
            "Documents added, replaced or deleted, and durable.",
            ("collection",),
            registry=self._registry,
        )
        self.jobs = Gauge(
            "semsearch_jobs", "Ingest jobs by state.", ("state",), registry=self._registry
        )

    def text(self) -> bytes:
        """All of them, as Prometheus reads it."""
        return generate_latest(self._registry)
