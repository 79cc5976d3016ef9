"""Dockerfile, compose.yaml and the manifests of Kubernetes: valid, shut in, and at one with the code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from django.core.management import load_command_class

from settings.catalogue import Settings
from tests.system.processes import PROJECT

DEPLOY = PROJECT / "deploy"
BIN = Path(sys.executable).parent
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
YAML_RULES = "{extends: default, rules: {line-length: {max: 140}, document-start: disable}}"
OURS = {"api": "jobapi", "runworker": "worker", "migrate": "django.core"}
SECRETS = {"secret_key", "monitoring_token", "users.acl", "redis_url_api", "redis_url_worker"}  # of make-secrets
SETTINGS = {variable.name for variable in Settings.variables()}


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def manifests() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


def pods() -> dict[str, dict[str, Any]]:
    """Return the pods that the manifests make, by the names of what makes them."""
    found = {}
    for manifest in manifests():
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            found[manifest["metadata"]["name"]] = template["spec"]
    return found


def names_a_command(arguments: list[str]) -> bool:
    """Whether manage.py takes these arguments; its parser ends the test if not."""
    name = arguments[0]
    parser = load_command_class(OURS[name], name).create_parser("manage.py", name)
    return bool(parser.parse_args([re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in arguments[1:]]))


def are_known(names: set[str]) -> bool:
    """Whether the settings read each of these variables."""
    return all(name in SETTINGS or name.removesuffix("_FILE") in SETTINGS for name in names)


def test_hadolint_finds_no_fault_with_the_dockerfile() -> None:
    subprocess.run([BIN / "hadolint", "Dockerfile"], cwd=PROJECT, check=True, timeout=60)


def test_the_image_is_entered_by_its_program_and_not_by_a_shell() -> None:
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    words = [line.split(maxsplit=1) for line in lines if re.match(r" *(ENTRYPOINT|CMD) ", line)]

    assert len(words) == 3
    assert all(text.startswith("[") for _, text in words)
    assert "USER 10001:10001" in lines


def test_compose_yaml_is_valid() -> None:
    subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"],
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )


def test_yamllint_finds_no_fault() -> None:
    files = [DEPLOY / "compose.yaml", DEPLOY / "compose", DEPLOY / "kubernetes"]
    subprocess.run([BIN / "yamllint", "--strict", "-d", YAML_RULES, *files], check=True, timeout=60)


@pytest.mark.parametrize("name", compose()["services"])
def test_a_service_has_limits_and_no_more_rights_than_it_needs(name: str) -> None:
    service = compose()["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit", "logging"} <= set(service)
    assert ("ports" in service) == (name in ("nginx", "prometheus"))


def test_what_compose_mounts_is_there() -> None:
    services, secrets = compose()["services"].values(), compose()["secrets"]
    files = [volume.split(":")[0] for service in services for volume in service.get("volumes", ()) if volume[0] == "."]

    assert files
    assert [file for file in files if not (DEPLOY / file).is_file()] == []
    assert set(secrets) - {"tls.crt", "tls.key"} <= SECRETS


def test_the_commands_and_settings_of_compose_are_known() -> None:
    ours = [service for service in compose()["services"].values() if service["image"].startswith("jobapi:")]

    assert len(ours) == 3
    assert all(names_a_command(service.get("command", ["api"])) for service in ours)
    assert all(are_known(set(service["environment"])) for service in ours)


def test_services_wait_for_what_they_need_and_are_given_the_time_to_end() -> None:
    services = compose()["services"]

    assert services["api"]["depends_on"]["valkey"]["condition"] == "service_healthy"
    assert services["api"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["nginx"]["depends_on"]["api"]["condition"] == "service_healthy"
    assert services["worker"]["stop_grace_period"] == "45s"  # more than its --grace-seconds


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_valid(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest["kind"] != "Kustomization":
            kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_every_manifest_is_part_of_the_whole() -> None:
    whole = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())

    assert set(whole["resources"]) == {path.name for path in MANIFESTS} - {"kustomization.yaml"}


@pytest.mark.parametrize("name", pods())
def test_a_pod_has_no_more_rights_than_it_needs_and_runs_what_is_there(name: str) -> None:
    pod = pods()[name]
    [container] = pod["containers"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
    assert names_a_command(container["args"])
    assert {item["key"] for item in pod["volumes"][0]["secret"]["items"]} <= SECRETS


def test_the_settings_of_kubernetes_are_known() -> None:
    whole = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    names = {line.split("=")[0] for line in whole["configMapGenerator"][0]["literals"]}
    names |= {variable["name"] for pod in pods().values() for variable in pod["containers"][0]["env"]}

    assert are_known(names)


def test_workers_are_scaled_by_figures_that_are_told() -> None:
    [trigger] = yaml.safe_load((DEPLOY / "kubernetes" / "keda" / "scaledobject.yaml").read_text())["spec"]["triggers"]
    told = (PROJECT / "docs" / "metrics.md").read_text()

    names = re.findall(r"jobapi_\w+", trigger["metadata"]["query"])

    assert len(names) == 2
    assert [name for name in names if f"`{name}`" not in told] == []
