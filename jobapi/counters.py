"""What each process of the API counts itself; the figures of the queues are kept by their scripts."""

from __future__ import annotations

import functools
from typing import Any

from django.http import HttpRequest
from django_prometheus.middleware import PrometheusAfterMiddleware
from django_prometheus.utils import Time
from prometheus_client import Counter

SUBMISSIONS = frozenset({"/api/v1/jobs", "/api/v1/jobs/bulk"})

SUBMISSIONS_REFUSED = Counter(
    "jobapi_submissions_refused", "Jobs that were not accepted; a bulk refused whole counts once.", ["reason"]
)
CALLS_LIMITED = Counter("jobapi_rate_limited", "Calls refused beyond the limit of their client.", ["limit"])


def note_problem(request: HttpRequest, reason: str) -> None:
    """Count a problem that is answered, or told of one job of a bulk, if a submission met it."""
    if request.method == "POST" and request.path in SUBMISSIONS:
        SUBMISSIONS_REFUSED.labels(reason).inc()


class RequestMetricsMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]
    """Counts requests by view, status and method; a method that HTTP does not know has no label of its own.

    django-prometheus takes one family's label as the client sent it: each invented method would add series for ever.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Count a request; `request.headers` would list all of them for each request, to find two."""
        metrics, meta = self.metrics, request.META
        self.label_metric(metrics.requests_by_method, request, method=str(request.method)).inc()
        self.label_metric(metrics.requests_by_transport, request, transport=self._transport(request)).inc()
        if meta.get("HTTP_X_REQUESTED_WITH") == "XMLHttpRequest":
            metrics.requests_ajax.inc()
        metrics.requests_body_bytes.observe(int(meta.get("CONTENT_LENGTH") or 0))
        request.prometheus_after_middleware_event = Time()  # type: ignore[attr-defined]

    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: str) -> Any:  # noqa: ARG002
        """Return the series of these labels."""
        if "method" in labels:
            labels["method"] = self._method(request)
        return _series(metric, *labels.items()) if labels else metric


@functools.cache  # there are as many as there are series
def _series(metric: Any, *labels: tuple[str, str]) -> Any:
    """Return the series of a metric; to find it in the metric itself takes six times as long."""
    return metric.labels(**dict(labels))
