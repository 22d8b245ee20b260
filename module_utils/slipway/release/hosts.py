# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What each host does in a release: decided here, once, for all phases; playbooks read `release_this.hosts[<name>]`.

Which services an app host runs is `System.released_on` in `model/system.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..model.release import Containers, HostPlan, Release


@dataclass(frozen=True)
class Site:
    """The inventory as far as it decides who does what, and what the run was asked for.

    `edge`, `app` and `data` are the groups; `database` says that one is declared, and `database_host` from where it is looked
    after (empty: as the release has it); `moved` names stateful services whose data was brought to another host; `alone` is
    true for a phase that is run by itself, outside of a release.
    """

    edge: list[str]
    app: list[str]
    data: list[str] = field(default_factory=list)
    database: bool = False
    database_host: str = ""
    moved: list[str] = field(default_factory=list)
    alone: bool = False

    @property
    def all(self) -> list[str]:
        """Every host, each once."""
        return list(dict.fromkeys([*self.edge, *self.app, *self.data]))


def host_plans(
    release: Release, before: Release | None, site: Site, root: str = "/var/lib/slipway"
) -> dict[str, HostPlan]:
    """Return what each host of `site` does in `release`, by name.

    `before` is the release that is live now, `root` the directory of the system on the hosts. Both releases have every key
    that `records.complete` fills in.
    """
    return {host: _plan(host, release, before, site, root) for host in site.all}


def _plan(host: str, release: Release, before: Release | None, site: Site, root: str) -> HostPlan:
    needed, services = release["needed"], release["services"]
    starts = host in release["app_hosts"]
    ran = host in release["previous_app_hosts"]
    takes_part = host in release["colour_hosts"]
    left = takes_part and host not in site.app
    stateful = [name for name, where in release["stateful_on"].items() if where == host]
    database = host == release["database_host"]
    # The first release makes its database, and moved data has no database yet at the place it is moved to.
    there = release["previous"] is not None or not services["stateful"]
    dumps = database and site.database and not site.moved and (site.alone or (needed and there))
    released = [*services["web"], *services["worker"], *services["job"]]
    return {
        "leads": host == site.edge[0],
        "turns": host in site.edge,
        "dumps": dumps,
        "database": database,
        "keeps": [f"{root}/stateful"] if before and host in before["stateful_on"].values() else [],
        "ships": [*(released if host in site.app else []), *stateful] if needed else [],
        "files": needed and host in [*site.app, *site.data],
        "stateful": stateful,
        "migrates": needed and release["kind"] == "deploy" and host == site.app[0],
        "starts": starts,
        "takes_part": takes_part,
        "hands_over": needed and takes_part and bool(services["worker"]),
        "workers": release["colour"] if starts else "none",
        "ran": ran,
        "left": left,
        "clears": left and not starts,
        "joined": host in site.app and not starts,
        "end": _end(release, starts, left),
        "back": _back(release, ran),
    }


def _end(release: Release, starts: bool, left: bool) -> Containers:
    """Return what runs on a host once the release is live: its colour, and of the old one what is kept for a rollback."""
    colour = release["colour"]
    old = [one for one in [release["previous_colour"]] if one not in ("none", colour)]
    # A host that is an app host no longer never takes part again, in a rollback neither.
    absent = [] if not left else old if starts else ["blue", "green"]
    kept_warm = release["keep_warm"] and starts
    return {
        "running": [colour] if starts else [],
        "workers": colour if starts else "none",
        "stopped": [] if left or kept_warm else old,
        "absent": absent,
    }


def _back(release: Release, ran: bool) -> Containers:
    """Return what runs on a host once the release was taken back: what ran before, and nothing of the release."""
    old = release["previous_colour"]
    return {
        "running": [old] if ran and release["previous_content"] is not None else [],
        # A host that came with the release has nothing of the old one.
        "workers": old if ran else "none",
        "stopped": [],
        # Never the colour that serves, whatever led here.
        "absent": [one for one in [release["colour"]] if one != old],
    }


def with_hosts(
    release: Release, before: Release | None, site: Site, root: str = "/var/lib/slipway"
) -> Release:
    """Return a release with what its hosts do, and what follows from that for all of them."""
    hosts = host_plans(release, before, site, root)
    made_here = release["database_host"] in release["stateful_on"].values()
    return {
        **release,
        "hosts": hosts,
        "makes_database": release["needed"] and release["previous"] is None and made_here,
    }
