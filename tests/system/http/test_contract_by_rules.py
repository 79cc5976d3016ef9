"""The contract against the rules that a linter has for all contracts."""

from __future__ import annotations

from django.conf import settings

from tests.system.http.conftest import NODE_TOOLS, Node


def test_the_contract_lints_clean(node: Node) -> None:
    node(NODE_TOOLS / "lint.mjs", settings.BASE_DIR / "openapi.yaml")
