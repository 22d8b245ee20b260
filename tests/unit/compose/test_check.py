"""What stands in the way of a release, by the Compose file alone."""
# ruff: noqa: E501 (the table of mistakes reads best with one a line)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.compose.check import (
    _without_values,
    check,
    interpolations,
    is_moving,
    secret_names,
    secrets_in_images,
)
from ansible.module_utils.slipway.compose.files import load
from ansible.module_utils.slipway.model.system import System

SERVICES: dict[str, dict[str, Any]] = {
    "web": {"kind": "web", "port": 80},
    "worker": {"kind": "worker"},
    "migrate": {"kind": "job"},
    "db": {"kind": "stateful", "port": 5432},
}
GOOD = """
services:
  web: {image: w, volumes: ["data:/d"]}
  worker: {image: w}
  migrate: {image: w}
  db: {image: "postgres:17", ports: ["5432:5432"], container_name: the-db}
  dev: {image: d, profiles: [dev], ports: ["1:1"]}
volumes: {data: {}}
"""


def problems(
    root: Path,
    text: str,
    *,
    provided: frozenset[str] = frozenset(),
    ignored: tuple = (),
    services: Any = None,
) -> list[str]:
    """Return the problems of a Compose file as lines."""
    (root / "compose.yaml").write_text(text)
    system = System.of({"app_name": "shop", "app_services": services or SERVICES}, {}, {})
    found = check(load(root, ["compose.yaml"]), system, provided, lambda path: ("app.yml", 7), ignored)
    return [one.text() for one in found]


def test_a_good_file_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("web: {image: w", 'web: {image: w, ports: ["80:80"]', "compose.yaml:3: services.web.ports: a web service publishes ports"),
        ("worker: {image: w", "worker: {image: w, container_name: x", "compose.yaml:4: services.worker.container_name: a worker"),
        ("web: {image: w", "web: {image: w, network_mode: host", "compose.yaml:3: services.web.network_mode: "),
        ("web: {image: w", "web: {image: w, links: [db]", "services.web.links: a web service uses links"),
        ("web: {image: w", "web: {image: w, volumes_from: [db]", "services.web.volumes_from: "),
        ("web: {image: w", "web: {image: w, networks: {default: {ipv4_address: 10.0.0.1}}", "services.web.networks.default.ipv4_address: is fixed"),
        ("postgres:17", "postgres", "compose.yaml:6: services.db.image: image 'postgres' of a stateful service"),
        ("postgres:17", "postgres:latest", "services.db.image: "),
        ("postgres:17", "postgres:${PG:-latest}", "services.db.image: image 'postgres:latest' of a stateful service"),
        ("  worker:", "  wrker:", "app.yml:7: app_services.worker: the Compose file (compose.yaml) has no service 'worker' -> did you mean 'wrker'?"),
        ("volumes: {data", "  mail: {image: m}\nvolumes: {data", "compose.yaml:8: services.mail: is not in app_services"),
        ("worker: {image: w}", "worker: {}", "compose.yaml:4: services.worker: has neither image nor build"),
        ('"data:/d"', '"./data:/d"', "compose.yaml:3: services.web.volumes: './data' does not exist in the source: each release"),
        ('"data:/d"', '"./c:/d:ro"', "services.web.volumes: './c' does not exist in the source -> add the file"),
        ('"data:/d"', '"../c:/d"', "services.web.volumes: bind mount '../c' lies outside the source"),
        ("worker: {image: w", "worker: {image: w, env_file: no.env", "services.worker.env_file: env_file 'no.env' does not exist"),
        ("volumes: {data", "networks: {default: {ipam: {config: [{subnet: 10.0.0.0/24}]}}}\nvolumes: {data", "networks.default.ipam.config: has fixed"),
        ("worker: {image: w", 'worker: {image: "$IMG"', "compose.yaml:4: services.worker.image: uses ${IMG}"),
        ("dev: {image: d", 'dev: {image: "${IMG:?}"', "compose.yaml:7: services.dev.image: uses ${IMG}"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_problem(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new))
    assert len(found) == 1
    assert expected in found[0]
    assert " -> " in found[0], "every problem has a fix"


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("image: w", 'image: w, ports: ["80:80"], container_name: c').replace(
        "postgres:17", "postgres"
    )
    keys = {line.split(": ")[1] for line in problems(tmp_path, text)}
    assert keys >= {
        f"services.{name}.{key}" for name in ("web", "worker") for key in ("ports", "container_name")
    }
    assert "services.db.image" in keys


def test_what_compose_provides_and_what_it_does_without(tmp_path: Path) -> None:
    text = GOOD.replace("{image: w, vol", '{image: "$COMPOSE_PROJECT_NAME", vol').replace(
        "worker: {image: w", "worker: {image: w, env_file: [{path: no.env, required: false}]"
    )
    assert text.count("required") == text.count("$COMPOSE") == 1
    assert problems(tmp_path, text) == []


def test_variables_of_extended_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text('services: {b: {image: "${NOPE:?say}"}}\n')
    text = GOOD.replace("worker: {", "worker: {extends: {file: base.yaml, service: b}, ")
    assert [one.partition(" uses")[0] for one in problems(tmp_path, text)] == [
        "base.yaml:1: services.b.image:"
    ]


@pytest.mark.parametrize(
    ("build", "lost"),
    [
        ("dockerfile_inline: FROM scratch", "dockerfile_inline"),
        ("additional_contexts: {a: ./a}", "additional_contexts"),
        ("secrets: [npm]", "secrets"),
        ("secrets: [{source: ca, target: other}]", "secrets"),
        ("ssh: [default]", "ssh"),
        ("network: host", "network"),
        ('extra_hosts: ["a=1.2.3.4"]', "extra_hosts"),
        ("platforms: [linux/arm64]", "platforms"),
        ("privileged: true", "privileged"),
        ("secrets: [ca]", ""),
        ("secrets: [], privileged: false, network: default, x-mine: 1", ""),
        ("cache_from: [a], cache_to: [b], no_cache: true, pull: true, labels: {a: b}, tags: [c]", ""),
        ("args: {A: 1}, target: t, dockerfile: D", ""),
    ],
)
def test_keys_of_a_build_that_would_be_lost(tmp_path: Path, build: str, lost: str) -> None:
    found = problems(tmp_path, GOOD.replace("worker: {image: w", f"worker: {{build: {{context: ., {build}}}"))
    assert [one.partition(" -> ")[0] for one in found] == (
        [f"compose.yaml:4: services.worker.build.{lost}: is not passed on to the build by slipway"]
        if lost
        else []
    )
    replaced = {**SERVICES, "worker": {"kind": "worker", "image": "ready:1"}}
    text = GOOD.replace("worker: {image: w", f"worker: {{build: {{context: ., {build}}}")
    assert problems(tmp_path, text, services=replaced) == []


def test_ignored_services(tmp_path: Path) -> None:
    text = GOOD.replace("volumes: {data", "  mail: {image: '${TAG}', ports: ['1:1']}\nvolumes: {data")
    assert problems(tmp_path, text, ignored=("mail",)) == []
    assert "app_services_ignored: names 'mial'" in "".join(problems(tmp_path, text, ignored=("mial", "mail")))


def test_a_replacement_makes_the_image_of_the_file_irrelevant(tmp_path: Path) -> None:
    services = {**SERVICES, "db": {"kind": "stateful", "image": "mine/pg:17"}}
    assert problems(tmp_path, GOOD.replace("postgres:17", "postgres"), services=services) == []


def test_the_environment_file_need_not_exist(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD.replace("web: {image: w", "web: {image: w, env_file: ./.env")) == []


@pytest.mark.parametrize(
    ("text", "provided", "expected"),
    [
        ("$A ${B}", set(), [("A", False), ("B", False)]),
        ("$$A $${B} $", set(), []),
        ("${A:-x}${A-x}${A:+x}${A+x}", set(), []),
        ("${A:?x} ${A?}", set(), [("A", True), ("A", True)]),
        ("${A:-${B}}", set(), [("B", False)]),
        ("${A:-${B}} $C", {"A"}, [("C", False)]),
        ("${A:+${B}} $C", set(), [("C", False)]),
        ("${A:+${B}}", {"A"}, [("B", False)]),
        ("$A$B", {"A"}, [("B", False)]),
        ("${A:-{x}} $B", {"A"}, [("B", False)]),
    ],
)
def test_interpolations(text: str, provided: set[str], expected: list) -> None:
    assert interpolations(text, provided) == expected


@pytest.mark.parametrize(
    ("image", "moving"),
    [
        ("postgres", True),
        ("postgres:latest", True),
        ("host:5000/postgres", True),
        ("host:5000/postgres:17", False),
        ("postgres:17", False),
        ("postgres@sha256:00", False),
    ],
)
def test_moving_tags(image: str, moving: bool) -> None:
    assert is_moving(image) is moving


def test_values_are_taken_out_of_what_compose_says() -> None:
    texts = {"SECRET": 's3cr"et-value', "SHORT": "two", "EMPTY": ""}
    said = _without_values('parsing "s3cr\\"et-value", "two", twofold s3cr"et-value', texts)
    assert said == 'parsing "(value of SECRET)", "(value of SHORT)", twofold (value of SECRET)'


def test_secrets_that_would_end_in_images(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("""
services:
  web:
    build:
      context: ${PASS_DIR:-.}
      args: [TOKEN, "URL=https://$TOKEN@x", "SET=${TOKEN}", "SAFE=${TOKEN:-none}", OPEN, "NONE=$NOPE"]
  worker: {image: "x:${TOKEN}"}
  migrate: {image: "x:${TOKEN:-1}"}
  db: {image: "$TOKEN"}
""")
    services = {**SERVICES, "db": {"kind": "stateful", "image": "postgres:17"}}
    system = System.of({"app_name": "shop", "app_services": services}, {}, {})
    compose = load(tmp_path, ["compose.yaml"])
    texts = {"TOKEN": "hunter2hunter2", "OPEN": "x", "PASS_DIR": "x"}
    arguments = {"SET": "1", "MINE": "$TOKEN"}
    found = [one.text() for one in secrets_in_images(compose, system, texts, {"TOKEN"}, arguments)]
    assert [one.partition(" uses")[0] for one in found] == [
        "compose.yaml:6: services.web.build.args.TOKEN:",
        "compose.yaml:6: services.web.build.args.URL:",
        "compose.yaml:7: services.worker.image:",
        "app.yml: app_build_args.MINE:",
    ]
    assert "environment_contract.TOKEN: {secret: false}" in found[0]
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("name", "text", "rule", "secret"),
    [
        ("API_URL", "https://a.example", {}, False),
        ("API_URL", "https://me:hunter2@a.example", {}, True),
        ("API_URL", "https://a.example", {"secret": True}, True),
        ("SECRET_KEY", "x", {}, True),
        ("SECRET_KEY", "x", {"secret": False}, False),
        ("PGPASSWORD", "", {}, True),
        ("TOKEN_COUNT", "5", {"type": "integer"}, False),
        ("KEYCLOAK_HOST", "a", {}, False),
        ("DATABASE_DSN", "x", {}, True),
        ("SESSION_COOKIE", "x", {}, True),
        ("NEXT_PUBLIC_KEY", "x", {}, True),
        ("NEXT_PUBLIC_KEY", "x", {"secret": False}, False),
        ("HOST_KEY", "-----BEGIN PRIVATE KEY-----\nx", {}, True),
        ("PIN_TOKEN", "5", {"type": "integer", "secret": True}, True),
        ("PY", "3.12", {}, False),
    ],
)
def test_what_is_a_secret(name: str, text: str, rule: dict[str, Any], secret: bool) -> None:
    assert secret_names({name: text}, {name: rule}) == ({name} if secret else set())
