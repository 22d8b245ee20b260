# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The embedded fleet: containers of the local Docker engine that stand for hosts."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

try:
    import docker

    DOCKER_IMPORT_ERROR = None
except ImportError:
    DOCKER_IMPORT_ERROR = traceback.format_exc()

LABEL = "slipway.fleet"
# Private ranges that neither Docker's default pools (172.17.0.0/16 and up, 192.168.0.0/16) nor most offices use.
SUBNETS = [f"10.{second}.{third}.0/24" for second in (177, 178) for third in range(0, 250, 7)]


class FleetError(Exception):
    """The fleet is not as asked for; the message says why and what to do."""


def bring(asked: dict[str, Any], check: bool = False) -> dict[str, Any]:
    """Have the fleet that `asked`, the options of the module fleet_hosts, describes, or remove it; return the module's result.

    With `check` nothing is touched. The library docker must be there. Raises FleetError.
    """
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except docker.errors.DockerException as error:
        raise FleetError(
            f"No Docker engine answers on this machine: {error}\n"
            "Start it (`make setup` does) and run the same command again."
        ) from error
    fleet = Fleet(client, asked["name"], asked["image"], asked["directory"])
    try:
        if asked["state"] == "absent":
            return fleet.remove(check)
        return fleet.ensure(asked["hosts"], asked["timeout"], check)
    except docker.errors.DockerException as error:
        raise FleetError(str(error)) from error


def free_address(subnet: str, taken: set[str]) -> str:
    """Return the first free host address of `subnet`; .1 is the gateway and the first ten are left alone.

    Raises FleetError where none is left.
    """
    for number, address in enumerate(ipaddress.ip_network(subnet).hosts(), start=1):
        if number >= 10 and str(address) not in taken:
            return str(address)
    raise FleetError(
        f"Network {subnet} has no free address left: remove a fleet you no longer need (`make fleet-down`)."
    )


def _lines(states: dict[str, str]) -> str:
    """Return the states of hosts as text for a diff."""
    return "".join(f"{host}: {state}\n" for host, state in sorted(states.items()))


def _start(container: Any) -> str:
    """Return what tells this start of this container from every other."""
    return f"{container.id}@{container.attrs['State']['StartedAt']}"


class Fleet:
    """The containers, network and files of one embedded fleet."""

    def __init__(self, client: Any, name: str, image: str, directory: str) -> None:
        self.client = client
        self.name = name
        self.image = image
        self.directory = Path(directory)

    # -- what there is

    def containers(self) -> dict[str, Any]:
        """Return the fleet's containers by host name."""
        found = self.client.containers.list(all=True, filters={"label": f"{LABEL}={self.name}"})
        return {container.labels["slipway.host"]: container for container in found}

    def network(self) -> Any | None:
        """Return the fleet's network, None where there is none."""
        found = [
            network for network in self.client.networks.list(names=[self.name]) if network.name == self.name
        ]
        return found[0] if found else None

    # -- what there should be

    def ensure(self, hosts: list[str], timeout: int, check: bool) -> dict[str, Any]:
        """Create what is missing, start what is stopped, and write how to reach the hosts."""
        existing = self.containers()
        created = [host for host in hosts if host not in existing]
        started = [host for host in hosts if host in existing and existing[host].status != "running"]
        result: dict[str, Any] = {
            "changed": bool(created or started),
            "created": created,
            "started": started,
            "diff": {
                "before": _lines({host: existing[host].status for host in hosts if host in existing}),
                "after": _lines(dict.fromkeys(hosts, "running")),
            },
        }
        if check:
            return result
        if created:
            self._require_image()
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        entered = self._entered()
        key = self._key()
        network = self._network()
        for host in created:
            existing[host] = self._create(host, network)
        for host in started:
            existing[host].start()
        variables = {host: self._variables(existing[host], key) for host in hosts}
        new = [host for host in hosts if host in started or _start(existing[host]) not in entered]
        with ThreadPoolExecutor(max_workers=len(hosts) or 1) as pool:
            host_keys = pool.map(lambda host: self._let_in(existing[host], key, timeout), new)
            self._know({variables[host]["ansible_host"]: line for host, line in zip(new, host_keys)})
        self._write(variables)
        return {**result, "hosts": variables}

    def remove(self, check: bool) -> dict[str, Any]:
        """Remove the fleet with everything that belongs to it."""
        containers = self.containers()
        network = self.network()
        changed = bool(containers or network or self.directory.exists())
        if not check:
            for container in containers.values():
                container.remove(force=True, v=True)
            if network:
                network.remove()
            shutil.rmtree(self.directory, ignore_errors=True)
        return {
            "changed": changed,
            "created": [],
            "started": [],
            "removed": sorted(containers),
            "diff": {
                "before": _lines({host: container.status for host, container in containers.items()}),
                "after": "",
            },
        }

    # -- the parts

    def _require_image(self) -> None:
        if not self.client.images.list(name=self.image):
            raise FleetError(
                f"Image {self.image} is not on this machine: run `images/build` (`make setup` does) and try again."
            )

    def _key(self) -> Path:
        key = self.directory / "id_ed25519"
        if not key.exists():
            command = [
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                f"slipway fleet {self.name}",
                "-f",
                str(key),
            ]
            subprocess.run(command, check=True)  # noqa: S603 - our own command line
        return key

    def _network(self) -> Any:
        network = self.network()
        if network:
            return network
        for subnet in SUBNETS:
            pool = {"Driver": "default", "Config": [{"Subnet": subnet}]}
            try:
                return self.client.networks.create(
                    self.name, driver="bridge", ipam=pool, labels={LABEL: self.name}
                )
            except docker.errors.APIError as error:
                if "overlaps" not in str(error):
                    raise
        raise FleetError(
            "No free private network is left for the fleet: `docker network ls` shows what is in use."
        )

    def _create(self, host: str, network: Any) -> Any:
        network.reload()
        subnet = network.attrs["IPAM"]["Config"][0]["Subnet"]
        # The address is fixed: a host that is restarted must come back where the others look for it.
        taken = {container.labels["slipway.address"] for container in self.containers().values()}
        address = free_address(subnet, taken)
        endpoint = self.client.api.create_endpoint_config(ipv4_address=address)
        api = self.client.api
        made = api.create_container(
            self.image,
            name=f"{self.name}-{host}",
            hostname=host,
            labels={LABEL: self.name, "slipway.host": host, "slipway.address": address},
            networking_config=api.create_networking_config({self.name: endpoint}),
            volumes=["/var/lib/docker"],
            host_config=api.create_host_config(
                privileged=True,
                tmpfs={"/run": "exec", "/tmp": "exec"},  # noqa: S108 - a path inside the container
                restart_policy={"Name": "no"},
            )
            | {"CgroupnsMode": "private"},
        )
        container = self.client.containers.get(made["Id"])
        container.start()
        return container

    def _entered(self) -> set[str]:
        """Return the starts of containers that let this directory's key in: the comments in `known_hosts`."""
        known_hosts = self.directory / "known_hosts"
        if not known_hosts.exists() or not (self.directory / "id_ed25519").exists():
            return set()
        return {line.rpartition(" ")[2] for line in known_hosts.read_text().splitlines()}

    def _know(self, host_keys: dict[str, str]) -> None:
        """Have `known_hosts` say these keys of these addresses."""
        known_hosts = self.directory / "known_hosts"
        lines = known_hosts.read_text().splitlines() if known_hosts.exists() else []
        kept = [line for line in lines if line.split(" ")[0] not in host_keys]
        new = [*kept, *(f"{address} {host_key}" for address, host_key in host_keys.items())]
        if sorted(new) != sorted(lines):
            known_hosts.write_text("\n".join(new) + "\n")

    def _variables(self, container: Any, key: Path) -> dict[str, Any]:
        address = container.labels["slipway.address"]
        known_hosts = self.directory / "known_hosts"
        return {
            "ansible_connection": "ssh",
            "ansible_host": address,
            "ansible_port": 22,
            "ansible_user": "root",
            "ansible_become": False,
            "ansible_ssh_private_key_file": str(key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=/dev/null"
            " -o IdentitiesOnly=yes",
            "app_address": address,
        }

    def _let_in(self, container: Any, key: Path, timeout: int) -> str:
        """Let the fleet's key log in, and return the key of the host with the container's start as its comment.

        Both through the engine, past the network.
        """
        # sshd is looked for, not only its key: the first connection must not be refused. The fleet may have been made
        # from another checkout, with another key.
        keys = "/root/.ssh/authorized_keys"
        public_key = key.with_suffix(".pub").read_text().strip()
        deadline = time.monotonic() + timeout
        script = (
            "systemctl is-active -q ssh.service && install -d -m 700 /root/.ssh &&"
            f" {{ grep -qsxF '{public_key}' {keys} || echo '{public_key}' >> {keys}; }} &&"
            " cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub"
        )
        while True:
            code, output = container.exec_run(["sh", "-c", script])
            if code == 0:
                container.reload()
                return f"{output.decode().strip()} {_start(container)}"
            if time.monotonic() > deadline:
                raise FleetError(
                    f"Container {container.name} did not start SSH in time."
                    f" Look at it: docker exec {container.name} journalctl -b --no-pager"
                )
            time.sleep(0.2)

    def _write(self, variables: dict[str, dict[str, Any]]) -> None:
        state = self.directory / "hosts.json"
        known = json.loads(state.read_text()) if state.exists() else {}
        text = json.dumps({**known, **variables}, indent=2, sort_keys=True) + "\n"
        if not state.exists() or state.read_text() != text:
            fresh = state.with_suffix(".new")
            fresh.write_text(text)
            fresh.rename(state)
