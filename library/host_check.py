#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: host_check
short_description: What a release needs of a host, looked at in one call
description:
  - Looks at programs, free disk, memory, load, ports and the clock of a host, and says for each what was seen and what is
    asked. Changes nothing.
options:
  programs:
    description: Least version by program. Known are C(docker), C(compose) and C(nginx); an empty version asks for any.
    type: dict
    default: {}
  packages:
    description: Debian packages of which the missing ones are returned.
    type: list
    elements: str
    default: []
  disk:
    description: Free gigabytes asked for by path; a path that does not exist counts as its nearest parent.
    type: dict
    default: {}
  memory_gb:
    description: Available memory asked for, in gigabytes.
    type: float
    default: 0
  ports:
    description: TCP ports that nobody but O(port_owners) may listen on.
    type: list
    elements: int
    default: []
  port_owners:
    description: Names of programs that may listen on O(ports).
    type: list
    elements: str
    default: [nginx]
  system:
    description: Name of the system that is released.
    type: str
  system_ports:
    description: TCP ports that only containers of O(system) may have on this host, and no other system may need.
    type: list
    elements: int
    default: []
  controller_time:
    description: Seconds since 1970 on the controller; a clock that is off by more than O(clock_skew) fails.
    type: float
  clock_skew:
    description: Seconds the clock of the host may be off.
    type: float
    default: 30
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: Is the host fit?
  host_check:
    programs: {docker: "24", compose: "2.24"}
    disk: {/var/lib/docker: 5}
    ports: [80, 443]
"""

RETURN = r"""
versions:
  description: Version by program, empty where it is missing.
  returned: always
  type: dict
missing_packages:
  description: Which of O(packages) are not installed.
  returned: always
  type: list
gates:
  description: What was seen, beside its limit.
  returned: always
  type: list
failed_gates:
  description: Those that failed. The module does not fail by itself.
  returned: always
  type: list
distribution:
  description: Debian's version number, such as 13.
  returned: always
  type: str
"""

import re
import shutil
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.host.ports import FORMAT, published, reserved, taken

COMMANDS = {
    "docker": ["docker", "version", "--format", "{{.Server.Version}}"],
    "compose": ["docker", "compose", "version", "--short"],
    "nginx": ["nginx", "-v"],
}


def is_loopback(address: str) -> bool:
    """Say whether an address is of 127.0.0.0/8 or ::1; as /proc/net/tcp and tcp6 write it, words in little endian."""
    ipv4 = address.removeprefix("0000000000000000FFFF0000")
    return ipv4.endswith("7F") if len(ipv4) == 8 else address == "0" * 24 + "01000000"


def version_of(module: AnsibleModule, program: str) -> str:
    """Return a program's version, empty where it is missing or does not answer."""
    command = COMMANDS[program]
    if not module.get_bin_path(command[0]):
        return ""
    code, output, error = module.run_command(command)
    found = re.search(r"\d+(\.\d+)+", output + error) if code == 0 else None
    return found.group() if found else ""


def at_least(version: str, least: str) -> bool:
    """Compare dotted versions by their numbers."""
    return [int(part) for part in re.findall(r"\d+", version)] >= [
        int(part) for part in re.findall(r"\d+", least)
    ]


def listeners(loopback: bool = True) -> dict[int, str]:
    """Return which program listens on which TCP port; those of the loopback only with `loopback`."""
    inodes: dict[str, int] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and (loopback or not is_loopback(fields[1].rpartition(":")[0])):
                inodes[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    owners = dict.fromkeys(inodes.values(), "unknown")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            for descriptor in (process / "fd").iterdir():
                target = str(descriptor.readlink())
                if target.startswith("socket:[") and target[8:-1] in inodes:
                    owners[inodes[target[8:-1]]] = (process / "comm").read_text().strip()
        except OSError:
            continue  # it ended while we looked
    return owners


def free_gb(path: str) -> float:
    """Return the free gigabytes where `path` is, or will be."""
    here = Path(path)
    while not here.exists():
        here = here.parent
    return shutil.disk_usage(here).free / 1e9


def available_memory_gb() -> float:
    """Return the memory that can be had without swapping, in gigabytes."""
    found = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    return int(found.group(1)) * 1024 / 1e9 if found else 0.0


def missing_packages(module: AnsibleModule, packages: list[str]) -> list[str]:
    """Return which Debian packages are not installed."""
    if not packages:
        return []
    _code, output, _error = module.run_command(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *packages]
    )
    installed = {line.split()[0] for line in output.splitlines() if line.split()[1:2] == ["ii"]}
    return [package for package in packages if package not in installed]


def gate(name: str, value: str, limit: str, passed: bool, detail: str = "") -> dict[str, str]:
    """Return a gate; `detail` says what to do where it failed."""
    return {
        "name": name,
        "value": value,
        "limit": limit,
        "verdict": "pass" if passed else "fail",
        "detail": "" if passed else detail,
    }


def system_ports(module: AnsibleModule) -> dict[str, str]:
    """Return the gate of the ports that the system publishes on this host."""
    system, wanted = module.params["system"], module.params["system_ports"]
    _code, listed, _error = module.run_command(["docker", "ps", "--format", FORMAT])
    others = reserved(Path("/var/lib/slipway"), system)
    found = taken(wanted, published(listed, system), others, listeners(loopback=False))
    fix = "set another app_port_base (or another port of a stateful service), or stop who has it"
    seen = "; ".join(found) or "none taken"
    return gate("ports of the system", seen, "none taken", not found, fix)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "programs": {"type": "dict", "default": {}},
            "packages": {"type": "list", "elements": "str", "default": []},
            "disk": {"type": "dict", "default": {}},
            "memory_gb": {"type": "float", "default": 0},
            "ports": {"type": "list", "elements": "int", "default": []},
            "port_owners": {"type": "list", "elements": "str", "default": ["nginx"]},
            "system": {"type": "str"},
            "system_ports": {"type": "list", "elements": "int", "default": []},
            "controller_time": {"type": "float"},
            "clock_skew": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    arguments = module.params
    gates = []
    versions = {program: version_of(module, program) for program in arguments["programs"]}
    for program, least in arguments["programs"].items():
        if versions[program]:
            fix = f"update {program} on this host, or let slipway install Debian's: remove the other package"
            gates.append(
                gate(program, versions[program], f">= {least}", at_least(versions[program], str(least)), fix)
            )
        elif program == "docker" and module.get_bin_path("dockerd"):
            gates.append(
                gate(
                    program, "does not answer", "a running engine", False, "start it: systemctl start docker"
                )
            )
    for path, least in arguments["disk"].items():
        free = free_gb(path)
        fix = f"make room: docker system df; du -xh {path} | sort -h | tail"
        gates.append(gate(f"disk free {path}", f"{free:.1f} GB", f">= {least} GB", free >= float(least), fix))
    if arguments["memory_gb"]:
        memory = available_memory_gb()
        fix = "see who uses it: ps aux --sort -rss | head"
        gates.append(
            gate(
                "memory",
                f"{memory:.1f} GB",
                f">= {arguments['memory_gb']} GB",
                memory >= arguments["memory_gb"],
                fix,
            )
        )
    if arguments["system_ports"]:
        gates.append(system_ports(module))
    if arguments["ports"]:
        owners = listeners()
        for port in arguments["ports"]:
            owner = owners.get(port, "nobody")
            allowed = owner == "nobody" or owner in arguments["port_owners"]
            fix = f"stop what listens there: ss -ltnp 'sport = :{port}'"
            gates.append(
                gate(f"port {port}", owner, "nobody or " + ", ".join(arguments["port_owners"]), allowed, fix)
            )
    if arguments["controller_time"]:
        skew = abs(time.time() - arguments["controller_time"])
        fix = "set the clock: timedatectl set-ntp true"
        gates.append(
            gate(
                "clock",
                f"{skew:.0f} s off",
                f"<= {arguments['clock_skew']:.0f} s",
                skew <= arguments["clock_skew"],
                fix,
            )
        )
    release = Path("/etc/debian_version")
    result: dict[str, Any] = {
        "changed": False,
        "versions": versions,
        "missing_packages": missing_packages(module, arguments["packages"]),
        "gates": gates,
        "failed_gates": [found for found in gates if found["verdict"] == "fail"],
        "distribution": release.read_text().split(".")[0].strip() if release.exists() else "",
    }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
