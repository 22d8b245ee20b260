# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The containers of a Compose project: what they are, whether they are ready, and why not."""

from __future__ import annotations

import calendar
import json
import time
from typing import Any

Container = dict[str, Any]


def summary(inspected: dict[str, Any]) -> Container:
    """Return what matters of one entry of `docker inspect`."""
    labels = inspected["Config"].get("Labels") or {}
    state = inspected["State"]
    ports = [
        {
            "address": binding["HostIp"],
            "port": int(binding["HostPort"]),
            "container_port": int(inside.split("/")[0]),
        }
        for inside, bindings in sorted((inspected["NetworkSettings"].get("Ports") or {}).items())
        for binding in bindings or []
    ]
    return {
        "id": inspected["Id"][:12],
        "name": inspected["Name"].lstrip("/"),
        "service": labels.get("com.docker.compose.service", ""),
        "project": labels.get("com.docker.compose.project", ""),
        "release": labels.get("slipway.release", ""),
        "config_hash": labels.get("com.docker.compose.config-hash", ""),
        "image": inspected["Image"],
        "status": state["Status"],
        "health": (state.get("Health") or {}).get("Status", "none"),
        "health_output": _last_probe(state),
        "exit_code": state.get("ExitCode", 0),
        "oom_killed": bool(state.get("OOMKilled")),
        "error": state.get("Error", ""),
        "restarts": inspected.get("RestartCount", 0),
        "created_at": _seconds(inspected.get("Created", "")),
        "started_at": state.get("StartedAt", ""),
        # Docker's own default.
        "stop_timeout": 10
        if inspected["Config"].get("StopTimeout") is None
        else inspected["Config"]["StopTimeout"],
        "pid": state.get("Pid", 0),
        "ports": ports,
    }


def _last_probe(state: dict[str, Any]) -> str:
    log = (state.get("Health") or {}).get("Log") or []
    return str(log[-1].get("Output", "")).strip()[-300:] if log else ""


def parse_inspect(output: str) -> list[Container]:
    """Return the containers in the output of `docker inspect`, by name."""
    return sorted(
        (summary(entry) for entry in json.loads(output or "[]")), key=lambda container: container["name"]
    )


def _seconds(written: str) -> float:
    """Return a time as Docker writes it, in seconds since the epoch; 0 for never."""
    seconds, _, fraction = written.rstrip("Z").partition(".")
    # Docker writes nanoseconds without trailing zeros, and the year 1 for never.
    if not seconds or seconds.startswith("0001"):
        return 0.0
    return calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")


def uptime(container: Container, now: float) -> float:
    """Return the seconds a container has been up at `now` (seconds since the epoch); 0 where it was never started."""
    started = _seconds(container["started_at"])
    return now - started if started else 0.0


def readiness(container: Container, uptime: float, settled: float, restarts: int = 0) -> str:
    """Say how far a container is that was started `uptime` seconds ago: `ready`, `waiting` or `failed`.

    One with a HEALTHCHECK is ready when that says so; one without when it has been up for `settled` seconds. One that the
    engine has restarted more than `restarts` times has failed; those it had before do not count.
    """
    if container["status"] in ("exited", "dead", "restarting", "removing"):
        return "failed"
    if container["restarts"] > restarts:
        return "failed"
    if container["status"] != "running":
        return "waiting"
    if container["health"] == "unhealthy":
        return "failed"
    if container["health"] == "starting":
        return "waiting"
    if container["health"] == "healthy":
        return "ready"
    return "ready" if uptime >= settled else "waiting"


def listeners(table: str) -> dict[int, bool]:
    """Return the TCP ports that are listened on, and whether only on a loopback address, from /proc/<pid>/net/tcp and tcp6.

    Addresses are written as hexadecimal words in the byte order of the machine (proc_pid_net(5)).
    """
    found: dict[int, bool] = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 4 or fields[3] != "0A" or ":" not in fields[1]:
            continue
        address, _, port = fields[1].partition(":")
        loopback = (
            address.endswith("7F") if len(address) == 8 else address == "00000000000000000000000001000000"
        )
        number = int(port, 16)
        found[number] = found.get(number, True) and loopback
    return found


def deaf(container: Container, table: str) -> str:
    """Say which published port nobody inside the container answers on; nothing where all is well."""
    found = listeners(table)
    for port in sorted({one["container_port"] for one in container["ports"]}):
        if port not in found:
            others = ", ".join(str(number) for number, inside in sorted(found.items()) if not inside)
            return (
                f"does not listen on port {port}, which app_services declares for {container['service']};"
                f" it listens on {others or 'none'}"
            )
        if found[port]:
            return f"listens on port {port} of a loopback address only: nobody outside the container reaches that"
    return ""


def complaint(container: Container) -> str:
    """Say in a line what is wrong with a container that is not ready."""
    if container["oom_killed"]:
        return "was killed for using more memory than its limit"
    if container["error"]:
        return f"did not start: {container['error']}"
    if container["restarts"]:
        # While it runs again, docker says 0.
        ended = "" if container["status"] == "running" else f", last exit code {container['exit_code']}"
        return f"ended and was restarted {container['restarts']} times{ended}"
    if container["status"] in ("exited", "dead"):
        return f"ended with exit code {container['exit_code']}"
    if container["health"] in ("unhealthy", "starting"):
        probe = (
            f"; its health check last said: {container['health_output']}"
            if container["health_output"]
            else ""
        )
        return f"is {container['health']}{probe}"
    return f"is {container['status']}"
