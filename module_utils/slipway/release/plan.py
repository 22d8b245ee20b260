# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run is going to do: which release, in which colour, from which files, and whether there is anything to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ..model.colours import other
from ..model.release import Release
from .hosts import Site, with_hosts
from .records import Record, complete, live, release_id, rollback_target, same_content, unfinished

# How the inputs of a release are called when a person is told what has changed.
INPUTS = {
    "revision": "source",
    "images": "images",
    "environment": "environment",
    "compose": "Compose file",
    "services": "services",
    "edge": "edge configuration",
}


class PlanError(Exception):
    """What was asked for can't be done; the message says why, and what can."""


class DataLeftBehind(PlanError):
    """A stateful service would start without its data."""


class NothingToGoBackTo(PlanError):
    """There is no release to roll back to."""


def digest(value: Any) -> str:
    """Return a short digest of a JSON value, to see whether it has changed."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def differences(inputs: dict[str, str], record: Record | None) -> list[str]:
    """Return what has changed since `record`, in words; everything where there is no record."""
    if record is None:
        return ["first release"]
    before = record.get("inputs", {})
    return [words for name, words in INPUTS.items() if inputs.get(name) != before.get(name)]


def deploy(
    records: list[Record],
    edge_colour: str,
    facts: Record,
    inputs: dict[str, str],
    force: bool,
    bare: Collection[str] = (),
) -> Record:
    """Plan a deploy.

    `records` are those of all hosts, `edge_colour` is what is left alone: the colour that is live. `facts` is what is known of
    the release (version, revision, services, ...), `inputs` a digest of each thing a release is made from, `bare` the hosts
    that have nothing of the live release any more. Where nothing has changed the plan is the live release, with `needed`
    false.
    """
    current = live(records)
    why = differences(inputs, current)
    if current and bare:
        why.append(f"nothing of {current['id']} is left on {', '.join(bare)}")
    if force and not why:
        why = ["asked for"]
    if current and not why:
        return {**current, "needed": False, "why": [], "previous_colour": current["colour"]}
    identifier = release_id(facts["revision"])
    return {
        **facts,
        "id": identifier,
        "kind": "deploy",
        "content": identifier,
        "colour": other(edge_colour),
        "previous_colour": edge_colour,
        "previous": current["id"] if current else None,
        "inputs": inputs,
        "needed": True,
        "why": why,
    }


def rollback(records: list[Record], edge_colour: str, wanted: str | None) -> Record:
    """Plan a rollback: the release that was live before (or `wanted`) is to be live again, from the files it had then.

    Raises NothingToGoBackTo, and ReleaseError where `wanted` never was live.
    """
    current = live(records)
    target = rollback_target(records, wanted)
    if target is None:
        lived = current["id"] if current else "none"
        raise NothingToGoBackTo(
            f"There is no release to go back to: {lived} is live, and no other is kept that was live and not taken back."
        )
    if current and same_content(target) == same_content(current):
        return {**current, "needed": False, "why": [], "previous_colour": current["colour"]}
    # What a release is made from; the rest of a record is what became of it.
    kept = (
        "app_hosts", "domain", "edge", "environment_key", "health", "image_ids", "images", "inputs", "revision", "routes",
        "servers", "services", "system", "url", "version",
    )  # fmt: skip
    return {
        **{key: target[key] for key in kept if key in target},
        # A service that only the newer release knows of keeps its data all the same.
        "stateful_on": {**(current or {}).get("stateful_on", {}), **target.get("stateful_on", {})},
        "id": release_id(target.get("revision", "0")),
        "kind": "rollback",
        "content": same_content(target),
        "colour": other(edge_colour),
        "previous_colour": edge_colour,
        "previous": current["id"] if current else None,
        "needed": True,
        "why": [f"back to {same_content(target)}"],
        # The edge is asked the same as now: its site, which knows both colours, stays as it is.
        "edge_stays": bool(
            current and current.get("inputs", {}).get("edge") == target.get("inputs", {}).get("edge")
        ),
        # The colour it takes still runs what it is to run, as far as the records know.
        "warm": bool(
            current and current.get("keeps_warm") and current.get("previous_content") == same_content(target)
        ),
    }


def see_data_is_there(emptied: dict[str, str], before: Record | None, moved: Collection[str]) -> None:
    """Raise DataLeftBehind where a host that keeps data has none any more, as `emptied` says by service: it was rebuilt."""
    gone = {name: host for name, host in emptied.items() if name not in moved}
    if gone and before:
        lines = "".join(
            f"\n  {name} keeps its data on {host}, which has nothing of it" for name, host in gone.items()
        )
        raise DataLeftBehind(
            f"Data is missing that the live release {before['id']} has:{lines}\n"
            "A release would start it empty. Bring the data back (backups lie in /var/lib/slipway/<system>/backups, copies where"
            f" you keep them), then say so: -e '{json.dumps({'stateful_moved': list(gone)})}'"
        )


def see_data_stays(before: Record | None, planned: Record, moved: Collection[str]) -> None:
    """Raise DataLeftBehind where a stateful service is to be used on another host than it is, unless it is in `moved`."""
    was, comes = ((one or {}).get("stateful_on", {}) for one in (before, planned))
    strays = {name: host for name, host in was.items() if comes.get(name, host) != host and name not in moved}
    if strays:
        back = planned.get("kind") == "rollback"
        there = "would go back to what it left" if back else "would start empty"
        lines = "".join(
            f"\n  {name} keeps its data on {host} and {there} on {comes[name]}"
            for name, host in strays.items()
        )
        name, host = next(iter(strays.items()))
        keep = (
            "Ship a release with deploy.yml instead"
            if back
            else f"Keep it where it is: the first host of group data, or `host: {host}` beside {name} in app_services"
        )
        raise DataLeftBehind(
            f"Data does not move with a service:{lines}\n{keep}. Where its data was brought over, say so:"
            f" -e '{json.dumps({'stateful_moved': list(strays)})}'"
        )


def present(
    planned: Record, before: Record | None, app_hosts: list[str], hosts: Collection[str]
) -> tuple[Record, list[str]]:
    """Return a planned release as the app hosts of today can run it, and what of it then runs nowhere.

    `hosts` are all of the inventory: one that is an app host no longer may still run the release `before`. A rollback goes
    to what ran on the hosts of its time. Those that have left the inventory since are not asked, and those that have joined
    it have no files of that release. Raises NothingToGoBackTo where none is left to serve.
    """
    planned, nowhere = _on_hosts_left(planned, app_hosts)
    was = (before or {}).get("app_hosts")
    ran = app_hosts if was is None else [host for host in was if host in hosts]
    moves = _workers_move({host: was[host] for host in ran} if was else {}, planned)
    known = {
        "previous_app_hosts": ran,
        "colour_hosts": [*app_hosts, *(host for host in ran if host not in app_hosts)],
        "workers_move": moves,
    }
    if moves and planned.get("warm"):
        # They could start at once, but those elsewhere have to end first.
        known["warm"] = False
    return {**planned, **known}, nowhere


def _workers_move(before: Record, planned: Record) -> bool:
    """Return whether a worker is to work on other hosts than those `before`, which then have to wait for each other."""
    for worker in planned.get("services", {}).get("worker", []):
        was, comes = (
            {host for host, one in hosts.items() if worker in one["services"]}
            for hosts in (before, planned.get("app_hosts", {}))
        )
        if was and comes and was != comes:
            return True
    return False


def _on_hosts_left(planned: Record, app_hosts: list[str]) -> tuple[Record, list[str]]:
    left = [host for host in planned.get("app_hosts", {}) if host not in app_hosts]
    if not left:
        return planned, []
    hosts = {host: one for host, one in planned["app_hosts"].items() if host not in left}
    gone = {planned["app_hosts"][host]["address"] for host in left} - {
        one["address"] for one in hosts.values()
    }
    servers = {
        service: {
            colour: [address for address in addresses if address.rpartition(":")[0] not in gone]
            for colour, addresses in colours.items()
        }
        for service, colours in planned["servers"].items()
    }
    empty = [service for service, colours in servers.items() if not any(colours.values())]
    if empty:
        raise NothingToGoBackTo(
            f"Release {planned['content']} can't be gone back to: {', '.join(left)}, where {', '.join(empty)} ran, are"
            " no longer app hosts. Put one back, or ship a release to the hosts of today with deploy.yml."
        )
    ran = {service for host in left for service in planned["app_hosts"][host]["services"]}
    runs = {service for one in hosts.values() for service in one["services"]}
    trimmed = {
        "app_hosts": hosts,
        "servers": servers,
        # The edge has to forget them before it turns.
        "edge_stays": False,
        "warm": False,
        # Once they are back, there is something to ship.
        "inputs": {**planned.get("inputs", {}), "services": "on the hosts that were left"},
    }
    return {**planned, **trimmed}, sorted(ran - runs)


def whole(
    planned: Record, records: list[Record], site: Site, root: str, keep_warm: bool
) -> tuple[Release, list[str]]:
    """Return what `deploy` or `rollback` has planned with all that follows from it, and which services of it run nowhere.

    `root` is the directory of the system on the hosts, `keep_warm` whether the old colour goes on running afterwards. Raises
    DataLeftBehind and NothingToGoBackTo.
    """
    before = live(records)
    see_data_stays(before, planned, site.moved)
    planned, nowhere = present(planned, before, site.app, site.all)
    planned["previous_content"] = before["content"] if before else None
    planned["upstreams"] = _upstreams(planned, before)
    # What must answer before the edge turns to the colour.
    planned["probes"] = [
        {"address": address, "path": route["health"]}
        for route in planned["routes"]
        for address in planned["upstreams"][route["service"]].get(planned["colour"], [])
    ]
    # What can have the traffic again.
    planned["back_probes"] = probes(before, site.app) if before else []
    # The directory each colour runs from.
    planned["directories"] = {
        one["colour"]: f"{root}/releases/{one['content']}" for one in (before, planned) if one
    }
    planned["backup"] = planned["id"]
    planned["members"] = site.all
    return _with_hosts({**planned, "keep_warm": keep_warm}, before, site, root), nowhere


def taken_up(records: list[Record], site: Site, root: str, keep_warm: bool) -> Release:
    """Return the release that is under way, else the live one with nothing to do, for whoever goes on with it.

    Raises PlanError where there is neither. Whether a phase that is run alone may begin is `Known.see_phase`.
    """
    before, begun = live(records), unfinished(records)
    if begun is not None:
        return _with_hosts(
            {**begun, "needed": True, "alone": True, "keep_warm": keep_warm}, before, site, root
        )
    if before is None:
        raise PlanError(
            "There is no release on these hosts yet, so this phase has nothing to work on. Ship one:"
            " ansible-playbook deploy.yml"
        )
    alone = {
        "needed": False,
        "alone": True,
        "previous_colour": before["colour"],
        "keep_warm": keep_warm,
        # A backup that is asked for between releases is one of its own.
        "backup": release_id(before.get("revision", "0")),
    }
    return _with_hosts({**before, **alone}, before, replace(site, alone=True), root)


def nowhere_gate(service: str, release: Release) -> dict[str, str]:
    """Return the gate for a service that no host of a release runs any more."""
    return {
        "name": f"{service} runs",
        "value": "nowhere",
        "limit": "on a host",
        "verdict": "warn",
        "detail": f"the hosts that had it in {release['content']} are app hosts no longer;"
        " put one back, or ship a release with deploy.yml",
    }


def _with_hosts(planned: Record, before: Record | None, site: Site, root: str) -> Release:
    now = {"database_host": site.database_host} if site.database_host else {}
    release = complete({**planned, **now}, site.app, site.data)
    was = complete(before, site.app, site.data) if before else None
    return with_hosts(release, was, site, root)


def probes(record: Record, app_hosts: list[str]) -> list[dict[str, str]]:
    """Return what is asked of the release that is live, before traffic goes back to it: `address` and `path`."""
    release = complete(record, app_hosts)
    return [
        {"address": address, "path": route["health"]}
        for route in release["routes"]
        for address in release["servers"].get(route["service"], {}).get(release["colour"], [])
    ]


def _upstreams(planned: Record, before: Record | None) -> dict[str, dict[str, list[str]]]:
    """Return the servers by web service and colour: those of the new release, and of the old one in its colour."""
    upstreams = {name: dict(servers) for name, servers in planned.get("servers", {}).items()}
    for name, servers in (before or {}).get("servers", {}).items():
        if before and before["colour"] != planned["colour"]:
            upstreams.setdefault(name, dict(servers))[before["colour"]] = servers[before["colour"]]
    return upstreams
