"""Several web services under one domain: each replica is asked for what leads to it."""

from __future__ import annotations

from ansible.module_utils.slipway.flow import parse_flows
from ansible.module_utils.slipway.load import parse_loads
from ansible.module_utils.slipway.moments import parse_places, paths_of, spread_checks
from ansible.module_utils.slipway.redact import Redactor

TARGETS = [
    {"name": "web", "address": "10.0.0.1", "port": 1, "route": "/", "health": "/health"},
    {"name": "api", "address": "10.0.0.1", "port": 2, "route": "/api", "health": "/api/healthz"},
    {"name": "admin", "address": "10.0.0.1", "port": 3, "route": "/api/admin", "health": "/api/admin/up"},
]
PLACES = parse_places("https://shop.example.test", None, None, TARGETS)


def names(checks: list[dict[str, str]]) -> set[str]:
    return {check["name"] for check in checks}


def test_a_path_is_asked_of_the_service_it_leads_to() -> None:
    wanted = [{"name": "front", "http": "/contact"}, {"name": "orders", "http": {"path": "/api/orders"}}]
    assert names(spread_checks(wanted, PLACES)) == {"front @ web", "orders @ api", "health @ admin"}


def test_one_service_alone_is_asked_for_everything() -> None:
    alone = parse_places("https://shop.example.test", None, None, [TARGETS[1]])
    assert names(spread_checks([{"name": "front", "http": "/contact"}], alone)) == {"front @ api"}
    plain = parse_places(
        "https://shop.example.test", None, None, [{"name": "x", "address": "10.0.0.1", "port": 1}]
    )
    assert names(spread_checks([{"name": "front", "http": "/contact"}], plain)) == {"front @ x"}


def test_no_declared_check_asks_nothing() -> None:
    assert spread_checks([], PLACES) == []


def test_a_flow_is_walked_where_all_of_it_leads() -> None:
    flows = [
        {
            "flow": "orders",
            "steps": [
                {"name": "a", "get": "/api/orders"},
                {"name": "b", "post": "/api/orders/${id}", "json": {}},
            ],
        },
        {"flow": "across", "steps": [{"name": "a", "get": "/"}, {"name": "b", "get": "/api/orders"}]},
    ]
    flows[0]["steps"][0]["save"] = {"id": {"json": "id"}}  # type: ignore[index]
    assert [flow.name for flow in parse_flows(flows, PLACES, Redactor(set()))] == ["orders @ api"]


def test_a_load_is_applied_where_all_of_it_leads() -> None:
    loads = [
        {"name": "mixed", "routes": ["/", {"path": "/contact"}], "requests": 10, "budgets": {"errors": "0%"}}
    ]
    assert [load.name for load in parse_loads(loads, PLACES)] == ["mixed @ web"]


def test_paths_are_found_wherever_they_stand() -> None:
    declared = {
        "flow": "x",
        "steps": [{"cache": {"get": "/a"}, "invalidate": {"delete": "/b"}}, {"burst": {"post": "/c"}}],
    }
    assert paths_of(declared) == {"/a", "/b", "/c"}
