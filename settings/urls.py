"""Where each address leads, and what is answered when none does."""

from csp.constants import UNSAFE_INLINE
from csp.decorators import csp_update
from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerSplitView, SpectacularYAMLAPIView

from jobapi.health import LiveView, ReadyView
from jobapi.metrics import MetricsView

# Their scripts write styles, search in a worker, and ask the issuer of tokens, which may be another host
DOCS_POLICY = csp_update({"style-src": [UNSAFE_INLINE], "worker-src": ["blob:"], "connect-src": ["https:"]})
DOCS_RETURN = f"{settings.STATIC_URL}drf_spectacular_sidecar/swagger-ui-dist/oauth2-redirect.html"

urlpatterns = [
    path("api/v1/", include("jobapi.urls")),
    path("api/openapi.yaml", SpectacularYAMLAPIView.as_view(), name="openapi"),
    path("api/docs/", DOCS_POLICY(SpectacularSwaggerSplitView.as_view(url_name="openapi")), name="docs"),
    path("api/redoc/", DOCS_POLICY(SpectacularRedocView.as_view(url_name="openapi")), name="redoc"),
    path("api/docs/oauth2-redirect.html", RedirectView.as_view(url=DOCS_RETURN, query_string=True), name="docs-return"),
    path("livez", LiveView.as_view(), name="livez"),
    path("readyz", ReadyView.as_view(), name="readyz"),
    path("", include("jobapi.oauth.urls")),
    path("admin/", admin.site.urls),
    path("dashboard/", RedirectView.as_view(pattern_name="admin:dashboard"), name="dashboard"),
    path("metrics", MetricsView.as_view(), name="metrics"),
]

handler400 = "jobapi.problems.bad_request"
handler403 = "jobapi.problems.forbidden"
handler404 = "jobapi.problems.not_found"
handler500 = "jobapi.problems.server_error"
