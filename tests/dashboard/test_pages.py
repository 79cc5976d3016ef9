from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_UNIX, socket

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from redis import Redis

from jobapi.dashboard.groups import GROUPS
from jobapi.dashboard.models import RIGHTS
from jobapi.dashboard.pages import PAGES, Page
from queueing import Broker, JobError, NewJob
from tests.dashboard.conftest import BASE
from tests.queueing.dump import dump

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
POSTS = [pytest.param(page, id=page.name) for page in PAGES if "POST" in page.rights]
GETS = [pytest.param(page, id=page.name) for page in PAGES if "GET" in page.rights]
EACH_PAGE = [pytest.param(page, id=page.name) for page in PAGES]
EACH_ROW = [pytest.param(page, method, id=f"{method} {page.name}") for page in PAGES for method in page.rights]
EACH_GAP = [
    pytest.param(page, method, right, id=f"{method} {page.name} without {right}")
    for page in PAGES
    for method, rights in page.rights.items()
    for right in rights
]


@pytest.fixture
def dead_job(broker: Broker) -> str:
    """Give the id of a dead job."""
    broker.enqueue("default", NewJob.of("echo", {"password": "geheim"}, max_attempts=1))
    job = broker.claim("default", "test").jobs[0]
    broker.fail(job, JobError(type="ValueError", message="no"))
    return job.id


@pytest.fixture
def address(dead_job: str) -> Callable[[Page], str]:
    """Give the address of a page, for a queue and a job that exist."""
    return lambda page: BASE + page.route.replace("<str:queue>", "default").replace("<str:job_id>", dead_job)


def user_with(*rights: str) -> Client:
    """Log in a new member of staff who has these rights."""
    user = User.objects.create_user("-".join(["user", *rights])[:150], is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="dashboard", codename__in=rights))
    browser = Client(raise_request_exception=False, headers={"host": "localhost"})
    browser.force_login(user, "django.contrib.auth.backends.ModelBackend")
    return browser


def test_every_page_needs_the_right_to_see_the_dashboard_and_only_rights_that_exist() -> None:
    for page in PAGES:
        assert all("view_dashboard" in rights and set(rights) <= RIGHTS.keys() for rights in page.rights.values())


def test_every_page_has_a_name_and_a_route_of_its_own() -> None:
    assert len({page.name for page in PAGES}) == len({page.route for page in PAGES}) == len(PAGES)


@pytest.mark.parametrize("page", EACH_PAGE)
def test_one_who_is_not_logged_in_is_sent_to_the_login(address: Callable[[Page], str], page: Page) -> None:
    anybody = Client(headers={"host": "localhost"})

    answers = [anybody.generic(method, address(page)) for method in METHODS]

    assert {answer.status_code for answer in answers} == {302}
    assert all(answer["Location"].startswith("/admin/login/?next=") for answer in answers)


@pytest.mark.parametrize(("page", "method"), EACH_ROW)
def test_staff_without_any_right_is_refused(
    address: Callable[[Page], str], stranger: Client, valkey: Redis, page: Page, method: str
) -> None:
    before = dump(valkey)

    answer = stranger.generic(method, address(page))

    assert answer.status_code == 403
    assert "You need the right view_dashboard" in answer.content.decode()
    assert dump(valkey) == before


@pytest.mark.parametrize(("page", "method", "right"), EACH_GAP)
def test_each_right_of_a_row_is_needed(address: Callable[[Page], str], page: Page, method: str, right: str) -> None:
    browser = user_with(*(RIGHTS.keys() - {right}))

    answer = browser.generic(method, address(page))

    assert answer.status_code == 403


@pytest.mark.parametrize(("page", "method"), EACH_ROW)
def test_the_rights_of_a_row_are_enough(address: Callable[[Page], str], page: Page, method: str) -> None:
    browser = user_with(*page.rights[method])

    answer = browser.generic(method, address(page))

    assert answer.status_code not in (403, 405)
    assert answer.status_code < 500


@pytest.mark.parametrize("page", EACH_PAGE)
def test_a_method_without_a_row_is_answered_405(
    address: Callable[[Page], str], administrator: Client, page: Page
) -> None:
    known = set(page.rights) | ({"HEAD"} if "GET" in page.rights else set())

    answers = [administrator.generic(method, address(page)) for method in METHODS if method not in known]

    assert {answer.status_code for answer in answers} == {405}
    assert {answer["Allow"] for answer in answers} == {", ".join(page.rights)}


@pytest.mark.parametrize("page", POSTS)
def test_nothing_can_be_changed_while_the_dashboard_is_read_only(
    address: Callable[[Page], str], administrator: Client, settings: LazySettings, valkey: Redis, page: Page
) -> None:
    settings.DASHBOARD_READ_ONLY = True
    before = dump(valkey)

    answer = administrator.post(address(page), {"reason": "none", "confirm": "default", "id": "x"})

    assert answer.status_code == 403
    assert "read only" in answer.content.decode()
    assert dump(valkey) == before


@pytest.mark.parametrize("page", POSTS)
def test_a_post_from_another_site_is_refused(address: Callable[[Page], str], administrator: Client, page: Page) -> None:
    strict = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
    strict.cookies = administrator.cookies

    assert strict.post(address(page)).status_code == 403


def test_looking_changes_nothing(address: Callable[[Page], str], administrator: Client, valkey: Redis) -> None:
    pages = [address(page) for page in PAGES if "GET" in page.rights]
    before = {key: value for key, value in dump(valkey).items() if key.startswith("jobs:")}

    statuses = {administrator.get(page).status_code for page in pages}

    assert statuses == {200}
    assert {key: value for key, value in dump(valkey).items() if key.startswith("jobs:")} == before


def test_the_navigation_has_only_what_the_viewer_may_see(viewer: Client, operator: Client) -> None:
    seen = {name: browser.get(BASE).content.decode() for name, browser in (("viewer", viewer), ("operator", operator))}

    assert f'href="{BASE}store/"' in seen["viewer"]
    assert f'href="{BASE}audit/"' not in seen["viewer"]
    assert f'href="{BASE}audit/"' in seen["operator"]


def test_the_index_of_the_admin_leads_to_the_dashboard_for_those_who_may(viewer: Client, stranger: Client) -> None:
    assert f'href="{BASE}"' in viewer.get("/admin/").content.decode()
    assert BASE not in stranger.get("/admin/").content.decode()
    assert viewer.get("/dashboard/").headers["Location"] == BASE


def test_the_groups_have_their_rights_and_what_people_change_stays(db: None) -> None:
    found = {group.name: set(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()}
    Group.objects.get(name="Queue viewers").permissions.clear()
    Group.objects.get(name="Queue operators").delete()
    call_command("migrate", verbosity=0)

    assert found == {name: set(rights) for name, rights in GROUPS.items()}
    assert not Group.objects.get(name="Queue viewers").permissions.exists()
    assert Group.objects.get(name="Queue operators").permissions.count() == len(GROUPS["Queue operators"])


@pytest.mark.parametrize("path", ["", "jobs/", "failures/", "queues/default/", "workers/", "store/", "audit/", "x/"])
def test_every_page_of_the_admin_has_the_strict_policy(administrator: Client, path: str) -> None:
    policy = administrator.get(BASE + path)["Content-Security-Policy"]

    assert set(policy.split("; ")) == {
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'",
        "connect-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'",
    }  # fmt: skip


@pytest.mark.parametrize("address", ["/admin/login/", "/admin/", "/admin/auth/group/", "/admin/password_change/"])
def test_the_admins_own_pages_have_the_strict_policy_too(admin_client: Client, address: str) -> None:
    policy = admin_client.get(address, headers={"host": "localhost"})["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_api_is_no_page_and_its_documentation_may_style_itself(client: Client) -> None:
    host = {"host": "localhost"}

    assert "Content-Security-Policy" not in client.get("/api/v1/queues", headers=host)
    for address in ("/api/docs/", "/api/redoc/"):
        policy = client.get(address, headers=host)["Content-Security-Policy"].split("; ")
        assert "script-src 'self'" in policy
        assert "style-src 'self' 'unsafe-inline'" in policy


@pytest.mark.parametrize("page", GETS)
def test_a_page_has_no_script_or_style_of_its_own_and_no_outside_host(
    address: Callable[[Page], str], administrator: Client, page: Page
) -> None:
    text = administrator.get(address(page)).content.decode()

    assert "<style" not in text
    assert " style=" not in text
    assert " onclick=" not in text
    assert all("src=" in tag.partition(">")[0] for tag in text.split("<script")[1:])
    assert "//" not in text.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xlink", "")


def test_the_badge_names_the_environment(viewer: Client, settings: LazySettings) -> None:
    assert 'class="environment"' not in viewer.get(BASE).content.decode()

    settings.ENVIRONMENT = "<b>PRODUCTION"

    assert '<strong class="environment">&lt;b&gt;PRODUCTION</strong>' in viewer.get(BASE).content.decode()


@pytest.fixture(params=["dead", "mute"])
def database(request: pytest.FixtureRequest, settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    """Let the database be one that refuses connections, or one that never answers."""
    with socket(AF_UNIX) as server:
        server.bind(str(tmp_path / "mute.sock"))
        server.listen(64)
        url = f"unix://{tmp_path}/{'mute' if request.param == 'mute' else 'nobody'}.sock"
        settings.CACHES = {name: {**cache, "LOCATION": url} for name, cache in settings.CACHES.items()}
        yield


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("path", ["", "?window=24h", "jobs/", "failures/", "queues/default/", "workers/", "store/"])
def test_without_the_database_a_page_says_so_within_2_seconds(viewer: Client, path: str) -> None:
    start = time.monotonic()

    answer = viewer.get(BASE + path)

    assert time.monotonic() - start < 2
    assert answer.status_code == 503
    assert "The database is away" in answer.content.decode()
    assert ".sock" not in answer.content.decode()
    assert int(answer["Retry-After"]) > 0
