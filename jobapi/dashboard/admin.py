"""The dashboard's place in Django's admin: an entry of the index and the sidebar, and the addresses below it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import URLPattern, path

from jobapi.dashboard.models import Dashboard
from jobapi.dashboard.pages import PAGES, guarded, urls

admin.site.site_header = admin.site.site_title = "Job API"
admin.site.index_title = "Administration"
admin.site.site_url = None  # there is no page but these
admin.site.unregister(User)


@admin.register(Dashboard)
class DashboardAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Leads to the pages; there is nothing to add, change or delete."""

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the pages, the first one also under the name that the index looks for."""
        wrap = self.admin_site.admin_view
        index = path("", wrap(guarded(PAGES[0])), name="dashboard_dashboard_changelist")
        return [*urls(wrap), index]

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whether the entry is shown."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's signature
        """Whether the entry is shown."""
        return request.user.has_perm("dashboard.view_dashboard")

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        """Return False: there is nothing to add."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Return False: there is nothing to change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Return False: there is nothing to delete."""
        return False


@admin.register(User)
class StaffAdmin(UserAdmin):  # type: ignore[type-arg]
    """The users, as Django shows them; who has done something is never deleted: with them the audit of it would go."""

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Whether a user, or some of the users, may be deleted; take `is_active` from the others."""
        has_acted = obj is not None and LogEntry.objects.filter(user=obj).exists()
        return super().has_delete_permission(request, obj) and not has_acted
