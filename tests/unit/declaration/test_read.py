"""From which host the database is looked after."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.slipway.declaration.read import client_host, database_host

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


ELSEWHERE = {"database_login": {"host": "db.example.com", "user": "shop", "db": "shop"}}
ADDRESSES = {"app1": "10.0.0.2", "data1": "10.0.0.3", "data2": "10.0.0.4"}


@pytest.mark.parametrize(
    ("variables", "groups", "host"),
    [
        (ELSEWHERE, FULL, "data1"),
        (ELSEWHERE, {"edge": ["edge1"], "app": ["app1"]}, "app1"),
        ({}, FULL, ""),
        ({**ELSEWHERE, "backup_mode": "none"}, FULL, ""),
        ({**ELSEWHERE, "backup_client_image": "postgres:17"}, FULL, ""),
        ({**ELSEWHERE, "backup_client_image": ""}, FULL, "data1"),
        *(
            ({"database_login": {"host": host}}, FULL, "")
            for host in ("10.0.0.3", "10.0.0.2", "data2", "localhost", "127.0.0.1", "::1")
        ),
        ({"database_login": {"unix_socket": "/run/postgresql"}}, FULL, ""),
    ],
)
def test_who_needs_client_programs_of_its_own(
    variables: dict[str, Any], groups: dict[str, list[str]], host: str
) -> None:
    assert client_host(variables, groups, ADDRESSES) == host
