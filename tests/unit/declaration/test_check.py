"""The whole declaration: where each mistake stands, and that none hides another."""
# ruff: noqa: E501 (the table of mistakes reads best with one a line)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.declaration.check import Declaration, check
from ansible.module_utils.slipway.declaration.locate import (
    COMMAND_LINE,
    Locator,
    inventory_files,
    read_files,
)
from ansible.module_utils.slipway.declaration.role_variables import read_options

ROOT = Path(__file__).resolve().parents[3]
GROUPS = {"edge": ["e1"], "app": ["a1", "a2"], "data": ["d1"]}
ADDRESSES = {"e1": "edge.example.test", "a1": "10.0.0.1", "a2": "10.0.0.2", "d1": "10.0.0.3"}


def good() -> dict[str, Any]:
    """A declaration without mistakes."""
    return {
        "app_name": "shop",
        "app_domain": "shop.example.test",
        "app_version": "v1",
        "app_source": {"repo": "/src/shop", "compose": ["compose.yaml"]},
        "app_port_base": 18000,
        "app_services": {
            "web": {
                "kind": "web",
                "port": 8000,
                "replicas": 2,
                "health": "/health",
                "route": "/",
                "drain": 10,
            },
            "worker": {"kind": "worker", "single_active": True},
            "migrate": {"kind": "job"},
            "db": {"kind": "stateful", "image": "postgres:17", "port": 5432},
            "redis": {"kind": "stateful", "image": "redis:8", "port": 6379},
        },
        "environment_contract": {"URL": {"type": "postgres_url", "secret": True}},
        "environment_values": {"URL": "postgresql://u@h/d"},
        "environment_file": ".env",
        "watch_window": 60,
        "unrelated": "anything",
    }


def said(variables: dict[str, Any], **more: Any) -> list[str]:
    """Return the problems as lines."""
    given = {"groups": GROUPS, "addresses": ADDRESSES, "locator": Locator(), **more}
    return [one.text() for one in check(Declaration(variables=variables, **given)).problems]


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good declaration with one value changed, or removed by `...`."""
    variables = good()
    *way, last = path.split(".")
    place = variables
    for key in way:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return variables


def test_a_good_declaration() -> None:
    result = check(Declaration(good(), GROUPS, ADDRESSES, Locator()))
    assert result.problems == []
    assert result.system is not None
    assert result.system.ports("web", "green") == (18100, 18101)


MISTAKES = [
    ("app_name", ..., "app_name: is missing"),
    ("app_name", "Shop", "app_name: 'Shop' is not allowed -> a lower-case letter"),
    ("app_name", "a" * 32, "app_name: '"),
    ("app_domain", ..., "app_domain: is missing"),
    ("app_domain", "no_domain!", "app_domain: 'no_domain!' is not allowed"),
    ("app_version", ..., "app_version: is missing -> name the branch"),
    ("app_version", 1.0, "app_version: is the number 1.0, and has to be text -> put it in quotes"),
    ("app_version", "-x", "app_version: '-x' is not allowed"),
    ("app_verison", "v1", "app_verison: is not a variable of slipway -> did you mean 'app_version'?"),
    ("environment_valeus", {}, "environment_valeus: is not a variable of slipway -> did you mean 'environment_values'?"),
    ("app_port_base", "18000", "app_port_base: is text, and has to be a whole number -> remove the quotes"),
    ("app_port_base", True, "app_port_base: is true/false, and has to be a whole number"),
    ("app_source.path", "x", "app_source: needs either repo or path"),
    ("app_source.composes", "x", "app_source.composes: is not a key that slipway knows here -> did you mean 'compose'?"),
    ("app_source.compose", "compose.yaml", "app_source.compose: is text, and has to be a list"),
    ("app_services", {}, "app_services: is empty"),
    ("app_services.web.port", ..., "app_services.web.port: is missing -> add port"),
    ("app_services.web.port", 70000, "app_services.web.port: is 70000, and has to be at most 65535"),
    ("app_services.web.health", ..., "app_services.web.health: is missing -> add health: a path"),
    ("app_services.web.health", "health", "app_services.web.health: 'health' is not allowed -> a path"),
    ("app_services.web.helth", "/x", "app_services.web.helth: is not a key of a web service -> did you mean 'health'?"),
    ("app_services.web.replicas", 21, "app_services.web.replicas: is 21, and has to be at most 20"),
    ("app_services.web.command", "x", "app_services.web.command: has no effect"),
    ("app_services.worker.single_active", "false", "app_services.worker.single_active: is the text 'false', and has to be true"),
    ("app_services.worker.replicas", 2, "app_services.worker.replicas: is 2 for a single_active worker"),
    ("app_services.worker.health", "/x", "app_services.worker.health: is not a key of a worker service"),
    ("app_services.worker.kind", "wroker", "app_services.worker.kind: 'wroker' is not a kind of service -> did you mean 'worker'?"),
    ("app_services.worker.kind", ..., "app_services.worker.kind: is missing -> use one of web, worker"),
    ("app_services.worker", None, "app_services.worker: is nothing, and has to be a mapping"),
    ("app_services.api", {"kind": "web", "port": 1, "health": "/"}, "app_services.api.route: '/' already leads to web"),
    ("app_services.db.image", "postgres", "app_services.db.image: 'postgres' can become another version"),
    ("app_services.redis.port", 5432, "app_services.redis.port: 5432 is also that of db on d1"),
    ("app_services.db.host", "d2", "app_services.db.host: 'd2' is not a host of the inventory -> name a host"),
    ("environment_file", "/etc/env", "environment_file: '/etc/env' is not allowed -> a relative path"),
    ("environment_contract.URL.secert", True, "environment_contract.URL.secert: is not a key that slipway knows here -> did you mean 'secret'?"),
    ("environment_contract.URL.type", "postgres", "environment_contract.URL.type: 'postgres' is not allowed -> "),
    ("environment_contract.URL.required", "no", "environment_contract.URL.required: is the text 'no', and has to be true or false"),
    ("environment_values.ULR", "x", "environment_values.ULR: is not in environment_contract -> did you mean 'URL'?"),
    ("environment_values.URL", ..., "environment_contract.URL: is required and has no value"),
    ("database_login", {"user": "u", "db": "d", "password": 12345}, "database_login.password: is a number, and has to be text"),
    ("environment_values", ["x"], "environment_values: is a list, and has to be a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "expected"), MISTAKES)
def test_one_mistake(path: str, value: Any, expected: str) -> None:
    found = said(changed(path, value))
    assert any(expected in line for line in found), found
    # What follows from a mistake may be said, too, but never by the dozen.
    assert len(found) <= 2, found


def test_mistakes_do_not_hide_each_other() -> None:
    variables = good()
    variables.update(
        app_name="Shop", app_verison="v1", app_port_base="18000", environment_values={"ULR": "x"}
    )
    variables["app_services"]["web"]["helth"] = variables["app_services"]["web"].pop("health")
    variables["app_services"]["worker"]["replicas"] = 2
    keys = [line.split(": ")[1] for line in said(variables, groups={**GROUPS, "data": []})]
    assert keys == [
        "app_name",
        "app_port_base",
        "app_verison",
        "app_services.web.health",
        "app_services.web.helth",
        "app_services.worker.replicas",
        "groups.data",
        "environment_values.ULR",
        "environment_contract.URL",
    ]


@pytest.mark.parametrize(
    ("groups", "addresses", "expected"),
    [
        ({**GROUPS, "edge": []}, ADDRESSES, "groups.edge: no host is in group edge"),
        ({**GROUPS, "app": []}, ADDRESSES, "groups.app: no host is in group app"),
        ({**GROUPS, "data": []}, ADDRESSES, "groups.data: no host is in group data"),
        (GROUPS, {**ADDRESSES, "a2": "a2"}, "hosts.a2: 'a2' is not an IP address"),
        (
            GROUPS,
            {**ADDRESSES, "d1": "127.0.0.1"},
            "hosts.d1: 127.0.0.1 cannot be reached from the other hosts",
        ),
    ],
)
def test_hosts(groups: dict, addresses: dict, expected: str) -> None:
    found = said(good(), groups=groups, addresses=addresses)
    assert len(found) == 1
    assert expected in found[0]


def test_addresses_are_not_judged_before_there_are_hosts() -> None:
    assert said(good(), addresses=None) == []


def test_one_host_may_be_everything() -> None:
    everything = {"edge": ["one"], "app": ["one"], "data": ["one"]}
    assert said(good(), groups=everything, addresses={"one": "127.0.0.1"}) == []
    crowded = changed("app_services.db.port", 18101)
    found = said(crowded, groups=everything, addresses={"one": "127.0.0.1"})
    assert len(found) == 1
    assert "app_services.db.port: 18101 lies in the range 18100-18101 of web (green) on one" in found[0]
    assert said(crowded) == [], "on another host the port is free"


def test_groups_that_nothing_needs_may_be_empty() -> None:
    variables = good()
    variables["app_services"] = {"web": variables["app_services"]["web"]}
    assert said(variables, groups={"edge": ["e1"], "app": ["a1"]}) == []


def test_workers_alone_are_refused_before_anything_looks_for_an_edge() -> None:
    variables = good()
    variables["app_services"] = {"worker": {"kind": "worker"}}
    (found,) = said(variables, groups={"app": ["a1"]})
    assert "app_services: has no web service, and a release is verified and switched by its" in found


def test_a_stateful_service_runs_on_hosts_of_the_group_data() -> None:
    variables = changed("app_services.redis.host", "a1")
    (found,) = said(variables)
    assert "app_services.redis.host: 'a1' is not in group data" in found
    assert said(variables, groups={**GROUPS, "data": ["d1", "a1"]}) == []


@pytest.mark.parametrize(
    ("health", "other_route", "expected"),
    [
        ("/api/health", None, ""),
        ("/health", None, "'/health' leads nowhere at the edge, and not to web, whose route is /api"),
        ("/health", "/", "'/health' leads to site at the edge, and not to web, whose route is /api"),
    ],
)
def test_the_edge_must_reach_the_health_of_the_first_web_service(
    health: str, other_route: str | None, expected: str
) -> None:
    variables = changed("app_services.web.route", "/api")
    variables["app_services"]["web"]["health"] = health
    if other_route:
        site = {"kind": "web", "port": 80, "health": "/", "route": other_route}
        variables["app_services"]["site"] = site
    found = said(variables)
    assert len(found) == bool(expected)
    assert all(f"app_services.web.health: {expected}" in line for line in found)


def test_a_system_of_images_alone() -> None:
    variables = {
        "app_name": "hello",
        "app_domain": "hello.example.test",
        "app_services": {"web": {"kind": "web", "image": "hello:1", "port": 80, "health": "/"}},
    }
    assert said(variables, groups={"edge": ["e1"], "app": ["a1"]}) == []
    del variables["app_services"]["web"]["image"]
    variables["app_services"]["db"] = {"kind": "stateful", "image": "postgres:17"}
    found = said(variables)
    assert any("app_services.web.image: is missing" in line for line in found)
    assert any("app_services.db.data: is missing: without a volume" in line for line in found)


def test_more_web_services_than_ports() -> None:
    variables = good()
    variables["app_services"] = {
        f"w{number}": {"kind": "web", "port": 80, "health": "/", "route": f"/{number}"} for number in range(6)
    }
    assert any("has 6 web services" in line for line in said(variables))


def test_texts_for_booleans_from_the_command_line() -> None:
    extra = Locator(extra=frozenset({"release_force", "unrelated", "edge_name", "app_name"}))
    variables = {**good(), "release_force": "false", "unrelated": "false", "edge_name": "x"}
    found = said(variables, locator=extra, role_options=ROLES)
    assert found == [
        f"{COMMAND_LINE}: release_force: is the text 'false', and has to be true or false"
        " -> remove the quotes; on the command line -e '{\"release_force\": false}'"
    ]
    assert said({**variables, "release_force": False}, locator=extra, role_options=ROLES) == []


ROLES = read_options(ROOT / "roles")


@pytest.mark.parametrize(
    "name", sorted(name for name, option in ROLES.items() if option.get("type") == "bool")
)
@pytest.mark.parametrize("text", ["false", "no", "Off", "0", "true"])
def test_a_text_for_any_boolean_of_any_role_is_refused(name: str, text: str) -> None:
    (found,) = said({**good(), name: text}, role_options=ROLES)
    assert f"{name}: is the text '{text}', and has to be true or false" in found


def test_a_text_for_a_boolean_deep_in_a_variable_is_refused() -> None:
    option = {"type": "list", "elements": "dict", "options": {"on": {"type": "bool"}}}
    (found,) = said({**good(), "edge_list": [{"on": True}, {"on": "no"}]}, role_options={"edge_list": option})
    assert "edge_list.1.on: is the text 'no'" in found


OPTIONS = {
    "edge_tls": {
        "type": "str",
        "choices": ["internal", "files", "none"],
        "description": "Where TLS comes from.",
    },
    "watch_seconds": {"type": "float"},
    "indexes_declared": {"type": "list", "elements": "dict"},
}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("edge_tsl", "files", "edge_tsl: is not a variable of slipway -> did you mean 'edge_tls'?"),
        ("edge_tls", "filez", "must be one of: internal, files, none"),
        ("watch_seconds", "soon", "cannot be converted"),
        ("indexes_declared", [1], "Elements value for option 'indexes_declared'"),
    ],
)
def test_variables_of_roles(name: str, value: Any, expected: str) -> None:
    found = said({**good(), name: value}, locator=Locator(extra=frozenset({name})), role_options=OPTIONS)
    assert len(found) == 1 and expected in found[0], found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("edge_tls", "{{ later }}"),
        ("edge_helper_of_mine", 1),
        ("watch_seconds", 5),
        ("indexes_declared", [{"name": "{{ x }}"}]),
        ("vault_password", "x"),
        ("database_name", "shop"),
        ("database_url", "postgresql://"),
        ("edge_tls_mode", "x"),
    ],
)
def test_what_may_be_meant_is_left_to_the_roles(name: str, value: Any) -> None:
    assert said({**good(), name: value}, locator=Locator(extra=frozenset({name})), role_options=OPTIONS) == []


def test_facts_are_not_taken_for_misspelled_variables() -> None:
    assert said({**good(), "edge_tsl": "a fact"}, role_options=OPTIONS) == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("database_login", {"usr": "u", "user": "u", "db": "d"}, "did you mean 'user'?"),
        ("database_login", {"user": "u"}, "database_login.db: is missing"),
        ("database_migrations", {"tool": "alembik", "service": "migrate"}, "did you mean 'alembic'?"),
        ("database_migrations", {"tool": "alembic", "service": "migrat"}, "did you mean 'migrate'?"),
        ("database_migrations", {"tool": "command", "service": "migrate"}, "needs"),
    ],
)
def test_the_database(name: str, value: Any, expected: str) -> None:
    found = said({**good(), name: value})
    assert len(found) == 1 and expected in found[0], found


def test_a_variable_of_ones_own_about_the_database_is_ones_own() -> None:
    assert said({**good(), "database_password": "x"}) == []


def test_what_cannot_be_templated_is_one_problem() -> None:
    variables = changed("environment_values.URL", ...)
    variables["app_services"]["web"].pop("port")
    untemplated = [
        (("environment_values", "URL"), "'vault_url' is undefined"),
        (("app_services", "web", "port"), "no"),
    ]
    found = said(variables, untemplated=untemplated)
    assert len(found) == 2
    assert any("environment_values.URL: cannot be read: 'vault_url' is undefined" in line for line in found)


def test_where_variables_stand(tmp_path: Path) -> None:
    everything = tmp_path / "group_vars" / "all"
    everything.mkdir(parents=True)
    (tmp_path / "hosts.yml").write_text("all:\n  vars: {app_domain: x}\napp:\n  hosts:\n    a1:\n    a2:\n")
    (everything / "app.yml").write_text("app_name: x\napp_services:\n  web:\n    kind: web\n")
    (everything / "environment.yml").write_text("environment_values:\n  A: 1\n  A: 2\n")
    (tmp_path / "group_vars" / "app.yml").write_text("\n\napp_name: y\n")
    (tmp_path / "notes.txt").write_text("x")
    files = inventory_files([tmp_path])
    assert [str(file.relative_to(tmp_path)) for file in files] == [
        "hosts.yml",
        "group_vars/all/app.yml",
        "group_vars/all/environment.yml",
        "group_vars/app.yml",
    ]
    assert inventory_files([tmp_path / "hosts.yml"]) == files
    documents, problems = read_files(files, Path.read_text, tmp_path)
    assert [one.text() for one in problems] == [
        "group_vars/all/environment.yml:3: environment_values.A: is there twice: only the last one counts -> remove one"
    ]
    locator = Locator(documents, frozenset({"app_version"}))
    assert locator.find(("app_services", "web", "kind")) == ("group_vars/all/app.yml", 4)
    assert locator.find(("app_services", "web", "port")) == ("group_vars/all/app.yml", 3)
    assert locator.find(("app_name",)) == ("group_vars/app.yml", 3), (
        "a group's variable wins over that of all"
    )
    assert locator.find(("app_domain",)) == ("hosts.yml", 2)
    assert locator.find(("app_version",)) == (COMMAND_LINE, 0)
    assert locator.find(("environment_file",)) == ("group_vars/all/environment.yml", 0)
    assert locator.find(("hosts", "a2")) == ("hosts.yml", 6)
    assert locator.find(("groups", "edge")) == ("hosts.yml", 0)


def test_the_compose_file_is_checked_with_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # without docker: its own words are tested elsewhere
    services = "".join(f"  {name}: {{image: x}}\n" for name in ("wbe", "worker", "migrate", "db", "redis"))
    (tmp_path / "compose.yaml").write_text(f"services:\n{services}")
    result = check(Declaration(changed("app_name", "Shop"), GROUPS, ADDRESSES, Locator(), source=tmp_path))
    assert [one.key for one in result.problems] == ["app_name", "app_services.web"]
    assert result.notes == ["the Compose file was not read by Compose itself: docker is not installed here"]
    assert result.system is None
