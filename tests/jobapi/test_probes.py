from __future__ import annotations

import pytest
from django.test import Client


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_probe_that_passes_says_ok(api: Client, path: str) -> None:
    response = api.get(path)

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_probe_needs_no_session_and_no_database_of_django(api: Client) -> None:
    assert api.get("/readyz").cookies == {}
