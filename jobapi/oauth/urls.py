"""The addresses of our exchange server; django-oauth-toolkit finds them by this namespace."""

from django.urls import path
from oauth2_provider.views import RevokeTokenView, TokenView

from jobapi.oauth.views import (
    IntrospectView,
    ResourceMetadataView,
    ServerMetadataView,
    StaffAuthorizationView,
    when_authorizing,
    when_issuing,
)

app_name = "oauth2_provider"

urlpatterns = [
    path("oauth/authorize/", when_issuing(StaffAuthorizationView.as_view()), name="authorize"),
    path("oauth/token/", when_issuing(TokenView.as_view()), name="token"),
    path("oauth/revoke/", when_issuing(RevokeTokenView.as_view()), name="revoke-token"),
    path("oauth/introspect/", when_issuing(IntrospectView.as_view()), name="introspect"),
    path(
        ".well-known/oauth-authorization-server",
        when_issuing(ServerMetadataView.as_view()),
        name="oauth-server-metadata",
    ),
    path(
        ".well-known/oauth-protected-resource",
        when_authorizing(ResourceMetadataView.as_view()),
        name="oauth-resource-metadata",
    ),
]
