"""From which host the database is looked after."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.slipway.declaration.read import database_host

HOSTVARS: dict[str, dict[str, Any]] = {
    "edge1": {"ansible_host": "203.0.113.1"},
    "app1": {"ansible_host": "203.0.113.2", "app_address": "10.0.0.2"},
    "data1": {"ansible_host": "203.0.113.3", "app_address": "10.0.0.3"},
    "data2": {"ansible_host": "203.0.113.4", "app_address": "10.0.0.4"},
}
FULL = {"edge": ["edge1"], "app": ["app1"], "data": ["data1", "data2"]}


@pytest.mark.parametrize(
    ("login", "groups", "host"),
    [
        ("10.0.0.3", FULL, "data1"),
        ("10.0.0.4", FULL, "data2"),
        ("10.0.0.2", FULL, "app1"),
        ("db.example.com", FULL, "data1"),
        ("", FULL, "data1"),
        ("db.example.com", {**FULL, "data": []}, "app1"),
        ("db.example.com", {"edge": ["edge1"], "app": ["app1"]}, "app1"),
    ],
)
def test_the_host_that_has_the_database_else_one_that_reaches_it(
    login: str, groups: dict[str, list[str]], host: str
) -> None:
    assert database_host(login, groups, HOSTVARS) == host
