"""Several web services under one domain: each replica is asked for what leads to it."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
from ansible.module_utils.slipway.masking.redactor import Redactor
from ansible.module_utils.slipway.verify.checks.run import parse_checks
from ansible.module_utils.slipway.verify.flows.run import parse_flows
from ansible.module_utils.slipway.verify.loads.run import parse_loads
from ansible.module_utils.slipway.verify.moments import (
    parse_for_every_moment,
    parse_places,
    paths_of,
    spread_checks,
)
from ansible.module_utils.slipway.verify.predicates import SpecError
from ansible.module_utils.testing import patch_module_args

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


MODULES: list[tuple[str, dict[str, Any]]] = [
    ("health_check", {"checks": [{"name": "late", "http": "/", "expects": 1}]}),
    ("smoke_flow", {"flows": [{"flow": "late", "steps": [{"get": "/", "expects": 1}]}]}),
    ("load_probe", {"loads": [{"name": "late", "routes": ["/"], "requests": 1, "expects": 1}]}),
]


@pytest.mark.parametrize("at", [["dark"], ["public"], "demand", ["darkness"]])
@pytest.mark.parametrize(("module", "declared"), MODULES, ids=[name for name, _declared in MODULES])
def test_reading_finds_mistakes_of_every_moment(
    module: str, declared: dict[str, Any], at: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """In preflight: found in the middle of a release, a misspelt key would cost the release."""
    ((where, (entry,)),) = declared.items()
    arguments = {"base_url": "https://shop.test", where: [{**entry, "at": at}], "parse_only": True}
    with pytest.raises(SystemExit), patch_module_args(arguments):
        importlib.import_module(module).main()
    told = json.loads(capsys.readouterr().out)
    assert told["failed"]
    assert (
        "unknown key 'darkness'" in told["msg"]
        if at == ["darkness"]
        else "unknown key 'expects'" in told["msg"]
    )


def test_names_may_be_shared_by_what_never_meets() -> None:
    twice = [{"name": "api", "http": "https://a/", "at": [at]} for at in ("dark", "public")]
    parse_for_every_moment(twice, "checks", parse_checks)
    with pytest.raises(SpecError, match="a second check is called") as caught:
        parse_for_every_moment([*twice, twice[0]], "checks", parse_checks)
    assert len(caught.value.problems) == 1
