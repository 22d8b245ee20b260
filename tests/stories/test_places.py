"""Other places than those of the inventories: one server for all, a managed database, a user with sudo."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ALL_VARIANTS, FLEET, ROOT, System

pytestmark = pytest.mark.skipif(not ALL_VARIANTS, reason="make test-all")


@contextmanager
def elsewhere(directory: Path, hosts: dict[str, list[str]], **extra: str) -> Iterator[System]:
    """The reference system with an inventory and a fleet of its own; hosts by group."""
    inventory = directory / "elsewhere"
    shutil.copytree(ROOT / "inventories/prod", inventory)
    groups = {group: {"hosts": dict.fromkeys(names)} for group, names in hosts.items()}
    (inventory / "hosts.yml").write_text(json.dumps(groups))
    system = System(inventory=str(inventory), extra={"fleet_name": f"{FLEET}-{directory.name}"[:40], **extra})
    made = ROOT / "var/fleet" / system.extra["fleet_name"]
    try:
        done = system.run("playbooks/fleet.yml")
        assert done.code == 0, done.output[-4000:]
        yield system
    finally:
        system.run("playbooks/fleet.yml", fleet_state="absent")
        shutil.rmtree(made, ignore_errors=True)


def life(system: System) -> None:
    """Planned, shipped, shipped again, the next version, and back."""
    plan = system.deploy("v1", "--check")
    assert plan.code == 0, plan.output[-4000:]
    first = system.deploy("v1")
    assert first.code == 0 and first.verdict == "live", first.output[-4000:]
    assert system.deploy("v1").changed == 0
    second = system.deploy("v2")
    assert second.code == 0 and "backup restored and compared" in second.output, second.output[-4000:]
    back = system.rollback()
    assert back.code == 0 and back.verdict == "live", back.output[-4000:]


@pytest.fixture
def images(reviews: System) -> None:
    """The history of the application and the images of the fleet are there."""


def test_one_server_is_edge_app_and_data(images: None, tmp_path: Path) -> None:
    with elsewhere(tmp_path, {"edge": ["solo"], "app": ["solo"], "data": ["solo"]}) as system:
        life(system)


def test_a_database_that_is_none_of_the_hosts(images: None, tmp_path: Path) -> None:
    servers = {"db": f"{FLEET}-managed-db", "redis": f"{FLEET}-managed-redis"}
    subprocess.run([str(ROOT / "images/build"), "bare:13"], check=True)
    places = {"edge": ["edge1"], "app": ["app1", "app2"]}
    # Bare hosts: they get the client programs, too, and before that a plan can't look at the database.
    with elsewhere(tmp_path, places, fleet_image="slipway/bare:13") as system:
        inventory, fleet = Path(system.inventory) / "group_vars/all", str(system.extra["fleet_name"])

        def secret(name: str) -> str:
            """Return a secret of the inventory, which makes them up on first use."""
            path = ROOT / "var/secrets/reviews" / name
            if not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.write_text(secrets.token_hex(16))
            return path.read_text().split()[0]

        def run(name: str, *arguments: str) -> str:
            """Start a server beside the fleet; return its address."""
            subprocess.run(["docker", "rm", "-fv", servers[name]], capture_output=True, check=False)
            command = ["docker", "run", "-d", "--name", servers[name], "--network", fleet, *arguments]
            subprocess.run(command, capture_output=True, check=True)
            form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
            look = ["docker", "inspect", "-f", form, servers[name]]
            return subprocess.run(look, capture_output=True, text=True, check=True).stdout.strip()

        try:
            login = ["-e", "POSTGRES_USER=reviews", "-e", f"POSTGRES_PASSWORD={secret('postgres')}"]
            db = run("db", *login, "-e", "POSTGRES_DB=reviews", "slipway/postgres:17")
            cache = ["redis-server", "--bind", "0.0.0.0", "--requirepass", secret("redis")]
            redis = run("redis", "slipway/redis:8", *cache)
            changes = {
                "app.yml": {"  db: {kind: stateful": "  # db: {", "  redis: {kind: stateful": "  # redis: {"},
                "environment.yml": {"@db:5432": f"@{db}:5432", "@redis:6379": f"@{redis}:6379"},
                "database.yml": {'"{{ hostvars[groups.data[0]].app_address }}"': db},
            }
            for name, pairs in changes.items():
                text = (inventory / name).read_text()
                for old, new in pairs.items():
                    assert old in text
                    text = text.replace(old, new)
                (inventory / name).write_text(text)
            with (inventory / "app.yml").open("a") as declared:
                declared.write("app_services_ignored: [db, redis]\n")
            life(system)
        finally:
            for server in servers.values():
                subprocess.run(["docker", "rm", "-fv", server], capture_output=True, check=False)


def test_servers_that_let_in_a_user_with_sudo(
    images: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests run as root, for whom Ansible would leave out a sudo on the controller, which must not be asked for.
    monkeypatch.setenv("ANSIBLE_BECOME_ALLOW_SAME_USER", "true")
    fleet, inventory = f"{FLEET}-sudo", tmp_path / "servers"
    hello = {"inventory": "inventories/hello", "name": "hello", "domain": "hello.example.test"}
    rehearsal = System(**hello, extra={"fleet_name": fleet})
    try:
        assert rehearsal.run("playbooks/fleet.yml").code == 0
        known = json.loads((ROOT / "var/fleet" / fleet / "hosts.json").read_text())
        deploy = "useradd -m deploy && cp -r /root/.ssh /home/deploy/ && chown -R deploy /home/deploy/.ssh"
        sudo = "echo 'deploy ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/deploy && rm /root/.ssh/authorized_keys"
        for host in known:
            container = f"{fleet}-{host}"
            subprocess.run(["docker", "exec", container, "sh", "-c", f"{deploy} && {sudo}"], check=True)
        # As somebody writes it who goes live: no fleet, addresses, and for all hosts who logs in.
        shutil.copytree(ROOT / "inventories/hello", inventory)
        (inventory / "group_vars/all/fleet.yml").unlink()
        some = known["edge1"]
        login = {name: some[name] for name in ("ansible_ssh_private_key_file", "ansible_ssh_common_args")}
        addresses = {
            host: {name: one[name] for name in ("ansible_host", "app_address")} for host, one in known.items()
        }
        groups = {"edge": ["edge1"], "app": [host for host in known if host != "edge1"]}
        written: dict[str, Any] = {
            group: {"hosts": {host: addresses[host] for host in hosts}} for group, hosts in groups.items()
        }
        written["all"] = {"vars": {**login, "ansible_user": "deploy", "ansible_become": True}}
        (inventory / "hosts.yml").write_text(json.dumps(written))
        servers = System(**{**hello, "inventory": str(inventory)}, extra={"fleet": "servers"})
        done = servers.deploy()
        assert done.code == 0 and done.verdict == "live", done.output[-4000:]
        assert servers.deploy().changed == 0
    finally:
        rehearsal.run("playbooks/fleet.yml", fleet_state="absent")
