"""What deploy/prometheus and deploy/grafana hold fits together, and fits what is really told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from redis import Redis

from tests.system.monitoring.programs import DEPLOY, promtool
from tests.system.processes import PROJECT

RULES = (DEPLOY / "rules.yml").read_text()
TESTS = (DEPLOY / "tests.yml").read_text()
ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES, re.MULTILINE)
NAME = re.compile(r"\b(?:[a-z_]+:)?(?:jobapi|django|process)_\w+(?::\w+)?\b")
STRINGS = re.compile(r'"[^"]*"')


@pytest.fixture
def told(valkey: Redis) -> set[str]:
    """Return the names of all series that a scrape may have."""
    page = Client(headers={"host": "localhost"}).get("/metrics").content.decode()
    names = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", page, re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def expressions(of: Any) -> Iterator[str]:
    """Return every expression of a dashboard, with the variables as Grafana would fill them in."""
    if isinstance(of, dict):
        if "expr" in of:
            yield of["expr"].replace("$__rate_interval", "1m").replace("$queue", ".+").replace("$job", ".+")
        for value in of.values():
            yield from expressions(value)
    elif isinstance(of, list):
        for value in of:
            yield from expressions(value)


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PROJECT / "deploy" / "grafana" / "dashboard.json").read_text())
    return found


def named_in(text: str) -> set[str]:
    return set(NAME.findall(STRINGS.sub("", text)))


def test_promtool_finds_no_fault_with_the_configuration_and_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yml")
    assert "SUCCESS" in promtool("test", "rules", "tests.yml")


def test_every_alert_is_made_to_fire() -> None:
    assert len(ALERTS) == len(set(ALERTS)) > 15
    assert set(re.findall(r'alertname="(\w+)"', TESTS)) == set(ALERTS)


def test_every_alert_leads_to_its_chapter_of_the_runbook() -> None:
    headings = re.findall(r"^#+ (.+)$", (PROJECT / "docs" / "operations.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    links = re.findall(r"^ +runbook_url: docs/operations\.md#([\w-]+)$", RULES, re.MULTILINE)

    assert links == [alert.lower() for alert in ALERTS]
    assert set(links) <= anchors


def test_rules_name_only_what_is_told_or_recorded(told: set[str]) -> None:
    recorded = set(re.findall(r"^ +- record: (\S+)$", RULES, re.MULTILINE))
    used = {name for line in RULES.splitlines() if not re.match(r" +(#|summary|description|runbook)", line)
            for name in named_in(line)} - {"jobapi_figures", "jobapi_alerts"}  # fmt: skip

    assert used - told - recorded == set()
    assert len(recorded) > 10


def test_the_dashboard_names_only_what_is_told(told: set[str]) -> None:
    used = {name for expression in expressions(dashboard()) for name in named_in(expression)}

    assert used - told == set()
    assert len(used) > 30


def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(expressions(dashboard()))]
    assert len(rules) > 40
    path = tmp_path / "panels.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML

    assert f"{len(rules)} rules found" in promtool("check", "rules", "--lint=none", path)


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in dashboard()["panels"]]
    cells = [(x, y) for place in places for x in range(place["x"], place["x"] + place["w"])
             for y in range(place["y"], place["y"] + place["h"])]  # fmt: skip

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(places)
