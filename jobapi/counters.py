"""What each process of the API counts itself; the figures of the queues are kept by their scripts."""

from __future__ import annotations

import functools
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django_prometheus.middleware import PrometheusAfterMiddleware, PrometheusBeforeMiddleware
from django_prometheus.utils import Time, TimeSince
from prometheus_client import Counter

from jobapi.afterwards import afterwards

SUBMISSIONS = frozenset({"/api/v1/jobs", "/api/v1/jobs/bulk"})

SUBMISSIONS_REFUSED = Counter(
    "jobapi_submissions_refused", "Jobs that were not accepted; a bulk refused whole counts once.", ["reason"]
)
CALLS_LIMITED = Counter("jobapi_rate_limited", "Calls refused beyond the limit of their client.", ["limit"])


def note_problem(request: HttpRequest, reason: str) -> None:
    """Count a problem that is answered, or told of one job of a bulk, if a submission met it."""
    if request.method == "POST" and request.path in SUBMISSIONS:
        SUBMISSIONS_REFUSED.labels(reason).inc()


class FirstMetricsMiddleware(PrometheusBeforeMiddleware):  # type: ignore[misc]
    """Counts requests as they come and go, before other middleware."""

    def process_request(self, request: HttpRequest) -> None:
        """Count a request."""
        request.came = Time()  # type: ignore[attr-defined]
        afterwards.do(self.metrics.requests_total.inc)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Count an answer."""
        afterwards.do(self._count_answer, TimeSince(request.came))  # type: ignore[attr-defined]
        return response

    def _count_answer(self, seconds: float) -> None:
        self.metrics.responses_total.inc()
        self.metrics.requests_latency_before.observe(seconds)


class RequestMetricsMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]
    """Counts requests by view, status and method; a method that HTTP does not know has no label of its own.

    django-prometheus takes one family's label as the client sent it: each invented method would add series for ever.
    The counting itself is done afterwards, with what is noted here of a request and its answer.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Count a request; `request.headers` would list all of them for each request, to find two."""
        meta = request.META
        is_ajax = meta.get("HTTP_X_REQUESTED_WITH") == "XMLHttpRequest"
        length = int(meta.get("CONTENT_LENGTH") or 0)
        afterwards.do(self._count_request, self._method(request), self._transport(request), length, is_ajax)
        request.prometheus_after_middleware_event = Time()  # type: ignore[attr-defined]

    def _count_request(self, method: str, transport: str, length: int, is_ajax: bool) -> None:
        metrics = self.metrics
        _series(metrics.requests_by_method, method).inc()
        _series(metrics.requests_by_transport, transport).inc()
        metrics.requests_body_bytes.observe(length)
        if is_ajax:
            metrics.requests_ajax.inc()

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        """Count a request that has come to a view."""
        afterwards.do(self._count_view, self._get_view_name(request), self._transport(request), self._method(request))

    def _count_view(self, view: str, transport: str, method: str) -> None:
        _series(self.metrics.requests_by_view_transport_method, view, transport, method).inc()

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Count an answer."""
        afterwards.do(
            self._count_response,
            self._get_view_name(request),
            self._method(request),
            str(response.status_code),
            str(response.charset),
            None if response.streaming else len(response.content),  # type: ignore[attr-defined]
            TimeSince(request.prometheus_after_middleware_event),  # type: ignore[attr-defined]
        )
        return response

    def _count_response(
        self, view: str, method: str, status: str, charset: str, length: int | None, seconds: float
    ) -> None:
        metrics = self.metrics
        _series(metrics.responses_by_status, status).inc()
        _series(metrics.responses_by_status_view_method, status, view, method).inc()
        _series(metrics.responses_by_charset, charset).inc()
        if length is None:
            metrics.responses_streaming.inc()
        else:
            metrics.responses_body_bytes.observe(length)
        _series(metrics.requests_latency_by_view_method, view, method).observe(seconds)

    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: str) -> Any:  # noqa: ARG002
        """Return the series of these labels, for what django-prometheus counts itself."""
        if "method" in labels:
            labels["method"] = self._method(request)
        return metric.labels(**labels) if labels else metric


@functools.cache  # there are as many as there are series
def _series(metric: Any, *labels: str) -> Any:
    """Return the series of a metric for labels in its order; to find it in the metric takes six times as long."""
    return metric.labels(*labels)
