"""The task, run by ansible-playbook on an inventory with vaults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
SECRETS = ("hunter2-in-a-vault-file", "hunter2-inline", "hunter2-open")

HOSTS = """
edge: {hosts: {edge1: {ansible_host: 10.0.0.1}}}
app: {hosts: {app1: {ansible_host: 10.0.0.2}, app2: {ansible_host: app2.example.test, app_address: "10.0.0.{{ 1 + 2 }}"}}}
data: {hosts: {data1: {ansible_host: 10.0.0.4}}}
"""
APP = """
app_name: shop
app_domain: "{{ app_name }}.example.test"
app_version: v1
app_source: {path: src, compose: [compose.yaml]}
app_services:
  web: {kind: web, port: 8000, health: /health, replicas: 2}
  db: {kind: stateful, image: "postgres:17", port: 5432}
"""
ENVIRONMENT = """
environment_contract:
  DATABASE_URL: {type: postgres_url, secret: true}
  TOKEN: {secret: true, min_length: 10}
  KEY: {secret: true}
environment_values:
  DATABASE_URL: "postgresql://app:{{ vault_password }}@db/shop"
  KEY: hunter2-open
  TOKEN: """
COMPOSE = """
services:
  web: {image: w, env_file: .env, environment: {URL: "${DATABASE_URL}"}}
  db: {image: "postgres:16"}
"""
PLAY = """
- name: Check
  hosts: localhost
  gather_facts: false
  tasks:
    - name: The declaration is free of mistakes
      system_check:
        source: "{{ playbook_dir }}/src"
"""
CHECKS = """
verify_checks:
  - name: health
    http: /health
    expect: {version: "{{ release_version }}"}
verify_load:
  - name: browse
    routes: ["/?release={{ release_version }}"]
    requests: 10
    budgets: {errors: 0%}
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """An inventory with a vault file and a value in a vault, of a good declaration."""
    (tmp_path / "pass").write_text("x")
    vault = [str(BIN / "ansible-vault"), "--vault-password-file", str(tmp_path / "pass")]
    vault.insert(1, "encrypt_string")
    inline = subprocess.run([*vault, SECRETS[1]], capture_output=True, text=True, check=True).stdout
    everything = tmp_path / "prod" / "group_vars" / "all"
    everything.mkdir(parents=True)
    (tmp_path / "prod" / "hosts.yml").write_text(HOSTS)
    (everything / "app.yml").write_text(APP)
    (everything / "environment.yml").write_text(ENVIRONMENT + inline.replace("\n  ", "\n    "))
    (everything / "vault.yml").write_text(f"vault_password: {SECRETS[0]}\n")
    vault[1] = "encrypt"
    subprocess.run([*vault, str(everything / "vault.yml")], capture_output=True, check=True)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "compose.yaml").write_text(COMPOSE)
    (tmp_path / "play.yml").write_text(PLAY)
    return tmp_path


def run(inventory: Path, *arguments: str) -> tuple[list[dict], str]:
    """Run the play; return its tasks and all that was printed, with -vvv."""
    command = [
        str(BIN / "ansible-playbook"),
        "-i",
        "prod",
        str(inventory / "play.yml"),
        "-vvv",
        *arguments,
    ]
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_VAULT_PASSWORD_FILE": str(inventory / "pass"),
    }
    ran = subprocess.run(command, cwd=inventory, env=environment, capture_output=True, text=True, timeout=120)
    everything = ran.stdout + ran.stderr
    result = json.loads(ran.stdout[ran.stdout.index("\n{") :])
    return result["plays"][0]["tasks"], everything


def play(inventory: Path, *arguments: str) -> tuple[dict, str]:
    """Run the play of a single task; return its result and all that was printed."""
    tasks, printed = run(inventory, *arguments)
    return tasks[0]["hosts"]["localhost"], printed


def play_all(inventory: Path, *arguments: str) -> dict[str, dict]:
    """Run the play; return the result of each of its tasks by name."""
    tasks, _ = run(inventory, *arguments)
    return {task["task"]["name"]: task["hosts"]["localhost"] for task in tasks if task["hosts"]}


def test_a_good_declaration(inventory: Path) -> None:
    result, printed = play(inventory)
    assert result.get("problems") == [], result
    assert not result.get("failed")
    assert result["notes"] == []
    assert result["gates"] == [{"name": "declaration", "value": 0, "limit": 0, "verdict": "pass"}]
    system = result["system"]
    assert system["app_hosts"] == ["app1", "app2"]
    assert system["addresses"]["app2"] == "10.0.0.3"
    assert system["services"]["web"]["ports"]["blue"][0] == system["port_base"]
    assert system["services"]["db"]["host"] == "data1"
    assert not [secret for secret in SECRETS if secret in printed]


def test_all_mistakes_in_all_files(inventory: Path) -> None:
    everything = inventory / "prod" / "group_vars" / "all"
    (everything / "app.yml").write_text(
        APP.replace("port: 8000", 'port: "8000"').replace("app_version", "app_verison")
    )
    text = (everything / "environment.yml").read_text()
    (everything / "environment.yml").write_text(
        text.replace("min_length: 10", "min_length: 99").replace("vault_password", "vault_pasword")
        + "  LEVLE: hunter2-open\n"
    )
    (inventory / "src" / "compose.yaml").write_text(
        COMPOSE.replace("image: w", "image: w, ports: ['1:1'], foo: 1")
    )
    result, printed = play(inventory, "--check", "-e", "release_force=false", "-e", "app_port_base=18000")
    assert result["failed"]
    assert [line.partition(" ")[2].partition(" -> ")[0] for line in result["msg"].splitlines()[1:]] == [
        "command line (-e): app_port_base: is text, and has to be a whole number",
        "command line (-e): release_force: is the text 'false', and has to be true or false",
        "compose.yaml:3: services.web.foo: is not a key of Compose",
        "compose.yaml:3: services.web.ports: a web service publishes ports; two colours cannot own the same port",
        "prod/group_vars/all/app.yml:4: app_verison: is not a variable of slipway",
        "prod/group_vars/all/app.yml:7: app_services.web.port: is text, and has to be a whole number",
        "prod/group_vars/all/environment.yml:7: environment_values.DATABASE_URL: cannot be read: 'vault_pasword' is undefined",
        "prod/group_vars/all/environment.yml:9: environment_values.TOKEN: is shorter than 99 characters: it has 14",
        "prod/group_vars/all/environment.yml:16: environment_values.LEVLE: is not in environment_contract",
    ]
    assert "9 mistakes in the declaration of the system" in result["msg"]
    assert not [secret for secret in SECRETS if secret in printed]


def test_the_role_reads_checks_that_expect_the_version(inventory: Path) -> None:
    """All that preflight does on the controller, the reading of the checks by their own modules included."""
    (inventory / "prod" / "group_vars" / "all" / "checks.yml").write_text(CHECKS)
    (inventory / "play.yml").write_text(
        "- hosts: localhost\n  connection: local\n  gather_facts: false\n  roles: [declaration]\n"
    )
    cache = inventory / "cache"
    source = json.dumps({"declaration_cache": str(cache), "app_source": {"path": str(inventory / "src")}})
    results = play_all(inventory, "-e", source)
    assert [one for one in results.values() if one.get("failed")] == []
    read = [
        name for name, one in results.items() if name.startswith("verify : Read") and not one.get("skipped")
    ]
    assert read == ["verify : Read the declared checks", "verify : Read the declared loads"]


def test_a_name_that_checks_use_and_nobody_defines(inventory: Path) -> None:
    everything = inventory / "prod" / "group_vars" / "all"
    (everything / "checks.yml").write_text(CHECKS.replace("/health\n", "'/{{ vault_pth }}'\n"))
    result, _ = play(inventory)
    assert [line.partition(" ")[2] for line in result["msg"].splitlines()[1:]] == [
        "prod/group_vars/all/checks.yml:4: verify_checks.0.http: cannot be read: 'vault_pth' is undefined"
    ]


def test_a_system_without_a_version_cannot_expect_one(inventory: Path) -> None:
    everything = inventory / "prod" / "group_vars" / "all"
    (everything / "checks.yml").write_text(CHECKS)
    (everything / "app.yml").write_text(APP.replace("app_version: v1\n", ""))
    result, _ = play(inventory)
    lines = [line.partition(" ")[2] for line in result["msg"].splitlines()[1:]]
    assert [line.partition(": cannot")[0] for line in lines] == [
        "prod/group_vars/all/checks.yml:5: verify_checks.0.expect.version",
        "prod/group_vars/all/checks.yml:8: verify_load.0.routes.0",
    ]
    assert all("'app_version' is undefined" in line for line in lines)
