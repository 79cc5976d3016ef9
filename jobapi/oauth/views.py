"""What our exchange server answers, where it differs from django-oauth-toolkit's own views."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.mixins import UserPassesTestMixin
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from oauth2_provider.views import (
    AuthorizationView,
    IntrospectTokenView,
    OAuthProtectedResourceMetadataView,
    OAuthServerMetadataView,
)

from jobapi.authentication import is_open, public_url
from jobapi.tokens import IssuerUnavailable, TokenRefused, check_own

View = Callable[..., HttpResponseBase]


def when_issuing(view: View) -> View:
    """Let a view be there only while clients get their tokens from us."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if is_open() or settings.OAUTH_ISSUER:
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


def when_authorizing(view: View) -> View:
    """Let a view be there only while callers need a token."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if is_open():
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


class ServerMetadataView(OAuthServerMetadataView):
    """What clients have to know of our exchange server (RFC 8414)."""

    http_method_names = ["get", "head"]


class ResourceMetadataView(OAuthProtectedResourceMetadataView):
    """Where clients get tokens for this API (RFC 9728)."""

    http_method_names = ["get", "head"]

    def get_resource(self, request: HttpRequest) -> str:
        """Return the API's identifier: the audience that its tokens must have, if they must."""
        return settings.OAUTH_AUDIENCE or public_url(request)

    def get_authorization_servers(self, request: HttpRequest) -> list[str]:
        """Return whose tokens are valid."""
        return [settings.OAUTH_ISSUER or public_url(request)]


class StaffAuthorizationView(UserPassesTestMixin, AuthorizationView):
    """Let a member of staff hand a right to a client (RFC 6749, section 4.1, with PKCE)."""

    http_method_names = ["get", "head", "post"]

    def test_func(self) -> bool:
        """Whether this person may."""
        return bool(self.request.user.is_active and self.request.user.is_staff)


class IntrospectView(IntrospectTokenView):
    """Tell a client what a token is good for (RFC 7662): what this API itself would let it do."""

    http_method_names = ["post"]  # a token in an address would be in logs

    @staticmethod
    def get_token_response(token_value: str | None = None) -> JsonResponse:
        """Return what is known of a token."""
        if not token_value:
            return JsonResponse({"error": "invalid_request", "error_description": "token is missing"}, status=400)
        try:
            grant = check_own(token_value)
        except TokenRefused:
            return JsonResponse({"active": False})
        except IssuerUnavailable:
            return JsonResponse({"error": "temporarily_unavailable"}, status=503)
        return JsonResponse(
            {
                "active": True,
                "client_id": grant.caller.client_id,
                "scope": " ".join(sorted(grant.caller.scopes)),
                "exp": int(grant.expires_at or 0),
                "token_type": "Bearer",
            }
        )

    def unauthenticated_response(self, *_: Any) -> HttpResponse:
        """Refuse one who is no client of ours (RFC 7662, section 2.3)."""
        return JsonResponse({"error": "invalid_client"}, status=401, headers={"WWW-Authenticate": "Basic"})
