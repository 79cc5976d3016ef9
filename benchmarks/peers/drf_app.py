"""The usual way: a serializer of DRF and Celery's `delay`, in a project as `startproject` makes it."""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="drf",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "rest_framework",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
)
application = get_wsgi_application()

from rest_framework import serializers  # noqa: E402 - these need the settings
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from benchmarks.peers.celery_app import noop  # noqa: E402


class JobSerializer(serializers.Serializer):
    """What a client sends."""

    kind = serializers.RegexField(r"^[A-Za-z0-9_.-]{1,100}$")
    payload = serializers.DictField(required=False)
    priority = serializers.IntegerField(min_value=0, max_value=9, default=0)
    run_at = serializers.DateTimeField(required=False)
    delay_seconds = serializers.FloatField(min_value=0, required=False)
    max_attempts = serializers.IntegerField(min_value=1, max_value=100, default=5)
    tags = serializers.ListField(child=serializers.CharField(max_length=50), required=False)


class JobsView(APIView):
    """Submit a job."""

    def post(self, request: Request) -> Response:
        """Check it and hand it to Celery."""
        serializer = JobSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        job = serializer.validated_data
        result = noop.delay(**job["payload"])
        return Response({"id": result.id, **serializer.data, "state": "ready"}, status=201)


urlpatterns = [path("jobs", JobsView.as_view())]
