from __future__ import annotations

import io
import re
from contextlib import closing
from typing import Any

import jsonschema
import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from django.test import Client

COMMITTED = settings.BASE_DIR / "openapi.yaml"

OPERATIONS = {
    "submitJob", "submitJobs", "listJobs", "getJob", "deleteJob", "cancelJob", "requeueJob",
    "listQueues", "getQueue", "changeQueue", "pauseQueue", "resumeQueue", "purgeQueue", "requeueDeadJobs",
    "listWorkers", "getLivez", "getReadyz",
}  # fmt: skip


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMMITTED.read_text())
    return document


def operations(contract: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {call["operationId"]: call for path in contract["paths"].values() for call in path.values()}


def validate(contract: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    jsonschema.validate(value, {**schema, "components": contract["components"]}, jsonschema.Draft202012Validator)


def test_the_committed_contract_is_the_generated_one_and_valid() -> None:
    generated = io.StringIO()

    call_command("spectacular", validate=True, fail_on_warn=True, stdout=generated)

    assert generated.getvalue().strip() == COMMITTED.read_text().strip(), (
        "run: manage.py spectacular --file openapi.yaml"
    )


def test_the_served_contract_is_the_committed_one(api: Client, contract: dict[str, Any]) -> None:
    response = api.get("/api/openapi.yaml")

    assert response.status_code == 200
    assert yaml.safe_load(response.content) == contract


def test_every_call_has_its_name(contract: dict[str, Any]) -> None:
    assert set(operations(contract)) == OPERATIONS


def test_every_example_is_valid(contract: dict[str, Any]) -> None:
    contents = [
        content
        for call in operations(contract).values()
        for holder in (call.get("requestBody", {}), *call["responses"].values())
        for content in holder.get("content", {}).values()
    ]

    examples = [(content["schema"], example["value"]) for content in contents for example in
                content.get("examples", {}).values()]  # fmt: skip
    assert len(examples) > 50
    for schema, value in examples:
        validate(contract, schema, value)


def test_every_reference_leads_somewhere(contract: dict[str, Any]) -> None:
    names = set(re.findall(r"#/components/schemas/(\w+)", COMMITTED.read_text()))

    assert names <= set(contract["components"]["schemas"])


@pytest.mark.parametrize(
    ("path", "schema"), [("/api/v1/queues", "QueuePage"), ("/api/v1/queues/mail", "Queue"), ("/livez", "Health"),
                         ("/api/v1/jobs/x", "Problem"), ("/nothing", "Problem")]
)  # fmt: skip
def test_an_answer_is_as_the_contract_says(api: Client, contract: dict[str, Any], path: str, schema: str) -> None:
    validate(contract, {"$ref": f"#/components/schemas/{schema}"}, api.get(path).json())


def test_a_submitted_job_is_as_the_contract_says(post: Any, contract: dict[str, Any]) -> None:
    job = post("/api/v1/jobs", {"kind": "echo", "ttl_seconds": 60, "tags": ["a"]}).json()

    validate(contract, {"$ref": "#/components/schemas/Job"}, job)
    assert set(job) == set(contract["components"]["schemas"]["Job"]["required"])


@pytest.mark.django_db  # a file that is closed looks at the connection that other tests left
def test_the_docs_ask_no_other_host_and_have_no_script_inside(api: Client) -> None:
    page = api.get("/api/docs/").content.decode()
    script = api.get("/api/docs/?script=").content.decode()

    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""] * 3
    assert "//" not in "".join(re.findall(r'(?:src|href)="([^"]*)"', page))
    assert '"validatorUrl": null' in script
    assert 'url: "/api/openapi.yaml"' in script.replace("\\u002D", "-")
    for address in re.findall(r'(?:src|href)="(/static/[^"]*)"', page):
        with closing(api.get(address)) as found:
            assert found.status_code == 200


@pytest.mark.django_db  # a file that is closed looks at the connection that other tests left
def test_redoc_shows_the_contract_from_this_server(api: Client) -> None:
    page = api.get("/api/redoc/").content.decode()

    addresses = re.findall(r'(?:src|href|spec-url)="([^"]*)"', page)
    assert "/api/openapi.yaml" in page
    assert all(address.startswith("/") and not address.startswith("//") for address in addresses)
    for address in addresses:
        if address.startswith("/static/"):
            with closing(api.get(address)) as found:
                assert found.status_code == 200
