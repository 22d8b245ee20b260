# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a host is fit for a release: programs, disk, memory, ports and clock, each beside what is asked of it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .ports import FORMAT, published, reserved, taken

Run = Callable[[list[str]], tuple[int, str, str]]
Find = Callable[[str], Any]
Gate = dict[str, str]

COMMANDS = {
    "docker": ["docker", "version", "--format", "{{.Server.Version}}"],
    "compose": ["docker", "compose", "version", "--short"],
    "nginx": ["nginx", "-v"],
}


def look(run: Run, find: Find, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what is seen of this host, with a gate for each of `asked`, the options of the module host_check.

    `find` says where a program lies, None where it is missing.
    """
    versions = {program: version_of(run, find, program) for program in asked["programs"]}
    gates = [
        *program_gates(asked["programs"], versions, find),
        *(disk_gate(path, least) for path, least in asked["disk"].items()),
        *([memory_gate(asked["memory_gb"])] if asked["memory_gb"] else []),
        *([system_ports(run, asked["system"], asked["system_ports"])] if asked["system_ports"] else []),
        *port_gates(asked["ports"], asked["port_owners"]),
        *([clock_gate(asked["controller_time"], asked["clock_skew"])] if asked["controller_time"] else []),
    ]
    release = Path("/etc/debian_version")
    return {
        "changed": False,
        "versions": versions,
        "missing_packages": missing_packages(run, wanted_packages(asked, versions)),
        "gates": gates,
        "failed_gates": [found for found in gates if found["verdict"] == "fail"],
        "distribution": release.read_text().split(".")[0].strip() if release.exists() else "",
    }


def gate(name: str, value: str, limit: str, passed: bool, detail: str = "") -> Gate:
    """Return a gate; `detail` says what to do where it failed."""
    return {
        "name": name,
        "value": value,
        "limit": limit,
        "verdict": "pass" if passed else "fail",
        "detail": "" if passed else detail,
    }


def program_gates(least: dict[str, Any], versions: dict[str, str], find: Find) -> Iterator[Gate]:
    """Yield a gate for each program that is there, and for an engine that is there but does not answer."""
    for program, wanted in least.items():
        if versions[program]:
            fix = f"update {program} on this host, or let slipway install Debian's: remove the other package"
            passed = at_least(versions[program], str(wanted))
            yield gate(program, versions[program], f">= {wanted}", passed, fix)
        elif program == "docker" and find("dockerd"):
            fix = "start it: systemctl start docker"
            yield gate(program, "does not answer", "a running engine", False, fix)


def disk_gate(path: str, least: Any) -> Gate:
    """Return the gate of the free gigabytes at `path`."""
    free = free_gb(path)
    fix = f"make room: docker system df; du -xh {path} | sort -h | tail"
    return gate(f"disk free {path}", f"{free:.1f} GB", f">= {least} GB", free >= float(least), fix)


def memory_gate(least: float) -> Gate:
    """Return the gate of the available memory, in gigabytes."""
    memory = available_memory_gb()
    fix = "see who uses it: ps aux --sort -rss | head"
    return gate("memory", f"{memory:.1f} GB", f">= {least} GB", memory >= least, fix)


def system_ports(run: Run, system: str, wanted: list[int]) -> Gate:
    """Return the gate of the ports that the system publishes on this host."""
    _code, listed, _error = run(["docker", "ps", "--format", FORMAT])
    others = reserved(Path("/var/lib/slipway"), system)
    found = taken(wanted, published(listed, system), others, listeners(loopback=False))
    fix = "set another app_port_base (or another port of a stateful service), or stop who has it"
    seen = "; ".join(found) or "none taken"
    return gate("ports of the system", seen, "none taken", not found, fix)


def port_gates(ports: list[int], allowed: list[str]) -> Iterator[Gate]:
    """Yield the gate of each port on which only the `allowed` programs may listen."""
    owners = listeners() if ports else {}
    for port in ports:
        owner = owners.get(port, "nobody")
        fix = f"stop what listens there: ss -ltnp 'sport = :{port}'"
        passed = owner == "nobody" or owner in allowed
        yield gate(f"port {port}", owner, "nobody or " + ", ".join(allowed), passed, fix)


def clock_gate(controller: float, allowed: float) -> Gate:
    """Return the gate of the seconds by which the clock differs from the controller's (seconds since 1970)."""
    skew = abs(time.time() - controller)
    fix = "set the clock: timedatectl set-ntp true"
    return gate("clock", f"{skew:.0f} s off", f"<= {allowed:.0f} s", skew <= allowed, fix)


def version_of(run: Run, find: Find, program: str) -> str:
    """Return a program's version, empty where it is missing or does not answer."""
    command = COMMANDS[program]
    if not find(command[0]):
        return ""
    code, output, error = run(command)
    found = re.search(r"\d+(\.\d+)+", output + error) if code == 0 else None
    return found.group() if found else ""


def at_least(version: str, least: str) -> bool:
    """Compare dotted versions by their numbers."""
    return [int(part) for part in re.findall(r"\d+", version)] >= [
        int(part) for part in re.findall(r"\d+", least)
    ]


def is_loopback(address: str) -> bool:
    """Say whether an address is of 127.0.0.0/8 or ::1; as /proc/net/tcp and tcp6 write it, words in little endian."""
    ipv4 = address.removeprefix("0000000000000000FFFF0000")
    return ipv4.endswith("7F") if len(ipv4) == 8 else address == "0" * 24 + "01000000"


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


def wanted_packages(asked: dict[str, Any], versions: dict[str, str]) -> list[str]:
    """Return the packages that are wanted, without those whose programs answer from elsewhere."""
    answered = {
        package
        for one in asked["substitutes"]
        if all(versions.get(program) for program in one["programs"])
        for package in one["packages"]
    }
    return [package for package in asked["packages"] if package not in answered]


def missing_packages(run: Run, packages: list[str]) -> list[str]:
    """Return which Debian packages are not installed."""
    if not packages:
        return []
    _code, output, _error = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *packages])
    installed = {line.split()[0] for line in output.splitlines() if line.split()[1:2] == ["ii"]}
    return [package for package in packages if package not in installed]
