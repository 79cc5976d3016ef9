"""The product's addresses, and one that somebody added without a thought for who may use it."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from settings.urls import handler400, handler403, handler404, handler500
from settings.urls import urlpatterns as ours

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


def forgotten(request: HttpRequest) -> HttpResponse:
    return HttpResponse("secrets")


urlpatterns = [*ours, path("forgotten", forgotten, name="forgotten")]
