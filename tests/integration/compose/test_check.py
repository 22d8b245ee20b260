"""What Compose itself refuses is found with lines, all at once, and without the values of the environment."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.slipway.compose.check import check, compose_says
from ansible.module_utils.slipway.compose.files import load
from ansible.module_utils.slipway.model.system import System

FILE = """services:
  web:
    image: ${REGISTRY:?say where}/web
    helthcheck: {test: "x"}
    networks: [nope, neither]
    restart: 5
    deploy: {resources: {limits: {cpu: 1}}}
    mem_limit: ${SECRET}
  work.er:
    image: x
    deploy: {replicas: two}
    foo: 1
    healthcheck: {interval: 1 parsec}
    depends_on: [nothing, web]
    volumes: [vol:/x]
    env_file: .env
volums: {}
"""
SYSTEM = System.of({"app_name": "compose-t", "app_services": {}}, {}, {})


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(FILE)
    compose = load(tmp_path, ["compose.yaml"])
    problems, note = compose_says(compose, SYSTEM, {"SECRET": "hunter2hunter2"})
    assert note == ""
    assert {(one.line, one.key) for one in problems} == {
        (4, "services.web.helthcheck"),
        (5, "services.web.networks"),
        (6, "services.web.restart"),
        (7, "services.web.deploy.resources.limits.cpu"),
        (8, "services.web.mem_limit"),
        (11, "services.work.er.deploy.replicas"),
        (12, "services.work.er.foo"),
        (13, "services.work.er.healthcheck.interval"),
        (14, "services.work.er.depends_on"),
        (15, "services.work.er.volumes"),
        (17, "volums"),
    }
    assert sum(one.line == 5 for one in problems) == 2
    text = "\n".join(one.text() for one in problems)
    assert "hunter2" not in text
    assert "did you mean 'healthcheck'?" in text
    assert "/tmp/" not in text


def test_a_good_file_is_not_refused(tmp_path: Path) -> None:
    """Neither by Compose nor by ourselves: with what the specification allows and applications use."""
    (tmp_path / "compose.yaml").write_text(
        """
name: theirs
x-base: &base
  image: app
  restart: unless-stopped
  env_file: [.env]
  environment: &env
    LEVEL: ${LEVEL:-info}
    TOKEN: $TOKEN
    ON: on
services:
  web:
    <<: *base
    build: {context: ., target: prod, args: [A=1], secrets: [ca]}
    environment: {<<: *env, WEB: "1"}
    healthcheck: {test: [CMD, curl, localhost], interval: 10s, start_interval: 1s, start_period: 20s}
    depends_on: {db: {condition: service_healthy, restart: true, required: false}}
    deploy: {resources: {limits: {cpus: "0.5", memory: 256M}}, update_config: {order: start-first}}
    security_opt: [no-new-privileges:true]
    cap_drop: [ALL]
    read_only: true
    tmpfs: [/tmp]
    ulimits: {nofile: {soft: 1024, hard: 2048}}
    expose: ["8000"]
    command: ["sh", "-c", "echo $$HOME"]
  db:
    image: postgres:17
    shm_size: 256mb
    ports: ["5432:5432", {target: 80, published: "8080"}]
    volumes: [{type: volume, source: pg, target: /v}]
  tool: {image: x, profiles: [tools], depends_on: [db]}
volumes: {pg: }
secrets: {ca: {environment: CA}}
networks: {default: {driver: bridge}}
"""
    )
    services = {"web": {"kind": "web", "port": 8000}, "db": {"kind": "stateful"}}
    system = System.of({"app_name": "compose-t", "app_services": services}, {}, {})
    compose = load(tmp_path, ["compose.yaml"])
    texts = {"TOKEN": "a'b\"$c"}
    assert [one.text() for one in check(compose, system, texts, lambda path: ("app.yml", 0))] == []
    assert compose_says(compose, system, texts) == ([], "")


def test_included_and_extended_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "compose.yaml").write_text(
        "include: [more/mail.yaml]\nservices:\n  web: {extends: {file: base.yaml, service: base}}\n"
    )
    (tmp_path / "deploy" / "more").mkdir()
    (tmp_path / "deploy" / "more" / "mail.yaml").write_text("services: {mail: {image: m}}\n")
    (tmp_path / "deploy" / "base.yaml").write_text("services: {base: {image: b, ports: ['80:80']}}\n")
    compose = load(tmp_path, ["deploy/compose.yaml"])
    assert compose_says(compose, SYSTEM, {}) == ([], "")
    services = {"web": {"kind": "web", "port": 8000}, "mail": {"kind": "worker"}}
    system = System.of({"app_name": "compose-t", "app_services": services}, {}, {})
    problems = check(compose, system, {}, lambda path: ("app.yml", 0))
    assert [(one.file, one.key) for one in problems] == [("deploy/compose.yaml", "services.web.ports")]
