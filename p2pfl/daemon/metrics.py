"""Metrics for Prometheus and a health endpoint, on a loopback address, when they are asked for.

The one module that knows prometheus_client.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector

from p2pfl.daemon.measures import PREFIX, Measure, MeasureKind, Snapshot


class MetricsServer:
    """Serves `/metrics` and `/healthz` from a thread of its own."""

    def __init__(self, host: str, port: int, snapshot: Callable[[], Snapshot]) -> None:
        """Listen and serve.

        Args:
            host: where, a loopback address.
            port: 0 for any that is free.
            snapshot: called for each request, on the serving thread.

        Raises:
            OSError: the address is taken.
        """
        registry = CollectorRegistry()
        registry.register(_Figures(snapshot))
        metrics: Callable[..., Iterable[bytes]] = make_wsgi_app(registry)

        def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            if environ.get("PATH_INFO") == "/metrics":
                return metrics(environ, start)
            if environ.get("PATH_INFO") == "/healthz":
                healthy = snapshot().is_healthy
                start("200 OK" if healthy else "503 Service Unavailable", [_PLAIN])
                return [b"ok\n" if healthy else b"not healthy\n"]
            start("404 Not Found", [_PLAIN])
            return [b"there are /metrics and /healthz\n"]

        self._server = make_server(host, port, app, _Server, _Silent)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


_PLAIN = ("Content-Type", "text/plain; charset=utf-8")


class _Server(WSGIServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: who went away in the middle of an answer is no news."""


class _Silent(WSGIRequestHandler):
    timeout = 10  # Who connects and says nothing holds the one thread no longer.

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # Its name there.
        """Log no requests."""


class _Figures(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Give all measures as they are now."""
        for measure in self._snapshot().measures:
            yield _family(measure)


def _family(measure: Measure) -> Metric:
    name, labels = f"{PREFIX}_{measure.name}", [measure.label] if measure.label else []
    if measure.kind is MeasureKind.HISTOGRAM:
        whole = HistogramMetricFamily(name, measure.help)
        whole.add_metric([], list(measure.values.items()), sum_value=measure.total)
        return whole
    of_kind = CounterMetricFamily if measure.kind is MeasureKind.COUNTER else GaugeMetricFamily
    family = of_kind(name, measure.help, labels=labels)
    for key, value in sorted(measure.values.items()):
        family.add_metric([key] if labels else [], value)
    return family
