# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What all hosts know together: no host is right by its position, and nobody's clock decides."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..host.fence import who
from . import entry
from .records import (
    Record,
    before_traffic,
    complete,
    live,
    order,
    outcome,
    rollback_target,
    same_content,
    settlement,
    unfinished,
)
from .records import union as union_of

# What a host says of itself: the result of release_record.
View = Mapping[str, Any]
START_OVER = """-e '{"release_start_over": true}'"""


class Unknowable(Exception):
    """What the hosts say does not allow to go on; the message says what was seen, and what to do."""


@dataclass(frozen=True)
class Known:
    """What is known of a system's releases, from the views of hosts by name, `edge` being the edge hosts in their order.

    `given_up` names a live release that does not answer and is to be left for what the edges point at, whoever turned them.
    """

    views: Mapping[str, View]
    edge: Collection[str]
    given_up: str = ""

    @property
    def records(self) -> list[Record]:
        """Of each release the record that was written last, wherever it lies; oldest first.

        One without a verdict that is older than what is live ended while its host was away, and has been forgotten elsewhere.
        """
        found = union_of([view["records"] for view in self.views.values()])
        current = live(found)
        if current is None:
            return found
        ended = {"verdict": "inconclusive", "reason": "ended while the hosts that know of it were away"}
        return [
            one if one.get("verdict") or order(one) > order(current) else {**one, **ended} for one in found
        ]

    @property
    def live(self) -> Record | None:
        """The release that is live."""
        return live(self.records)

    @property
    def unfinished(self) -> Record | None:
        """The newest release without a verdict."""
        return unfinished(self.records)

    @property
    def generation(self) -> int:
        """The highest number that any host has seen."""
        numbers = [view["fence"]["generation"] for view in self.views.values()]
        for record in self.records:
            numbers += [record.get("generation", 0), record.get("written", 0)]
        return max(numbers, default=0)

    @property
    def edges(self) -> dict[str, str]:
        """The colour to which each edge points."""
        return {host: self.views[host]["edge"] for host in self.edge if host in self.views}

    @property
    def colour(self) -> str:
        """The colour that a new release has to leave alone: that of the live one; before there is one, where an edge points."""
        current = self.live
        pointed = [colour for colour in self.edges.values() if colour != "none"]
        if current and not (pointed and current["id"] == self.given_up):
            return str(current["colour"])
        return next(iter(pointed), "none")

    @property
    def settlement(self) -> str | None:
        """How the release that broke off is settled, from every edge; None where there is none."""
        pending = self.unfinished
        if pending is None:
            return None
        watches = {host: self.views[host]["watches"].get(pending["id"]) for host in self.edges}
        return settlement(pending, self.edges, watches)

    @property
    def misdirected(self) -> list[str]:
        """The edges that do not point at what is live, and have no release under way to be turned to."""
        current, pending = self.live, self.unfinished
        if (
            current is None
            or current["id"] == self.given_up
            or (pending is not None and pending.get("phase") not in before_traffic(pending))
        ):
            return []
        return [host for host, colour in self.edges.items() if colour != current["colour"]]

    @property
    def lacking(self) -> list[str]:
        """The hosts that do not know how every release has ended, or have a record that can't be read."""
        whole = outcome(self.records)
        return [
            host for host, view in self.views.items() if view["damaged"] or outcome(view["records"]) != whole
        ]

    def bare(self, app: Collection[str]) -> list[str]:
        """Return the hosts of group app that the live release ran on, and that have nothing of it any more: rebuilt ones."""
        current = self.live
        if current is None:
            return []
        ran = [host for host in complete(current, list(app))["app_hosts"] if host in app]
        return [
            host
            for host in ran
            if host in self.views and same_content(current) not in self.views[host]["files"]
        ]

    def emptied(self) -> dict[str, str]:
        """Return the hosts that keep data for the live release, and have none of it any more, by service."""
        kept = (self.live or {}).get("stateful_on", {})
        return {
            name: host
            for name, host in kept.items()
            if host in self.views and not self.views[host]["stateful"]
        }

    def see_enough(self, declared_lost: Collection[str] = (), start_over: bool = False) -> None:
        """Raise Unknowable where these hosts can't know what is live.

        Either an edge of the inventory was not asked; or most of the hosts on record are missing and not `declared_lost`; or
        there is no record at all, though a host has containers or volumes of the system (`start_over` says that this is
        meant); or a record is damaged everywhere.
        """
        if silent := [host for host in self.edge if host not in self.views]:
            raise Unknowable(
                f"{', '.join(silent)} is in group edge and was not asked (--limit?): what it points at, and what its watch has"
                " come to, decides as well. Nothing was touched. Run it on all hosts, or take the edge out of the inventory."
            )
        newest = max(self.records, key=order, default=None)
        members = (newest or {}).get("members", [])
        missing = [host for host in members if host not in self.views and host not in declared_lost]
        if 2 * len(missing) > len(members):
            raise Unknowable(
                f"Of the {len(members)} hosts on record, {', '.join(missing)} did not answer: those that did may not know"
                " what is live. Nothing was touched. Bring them back into the inventory, or, where they are gone for good,"
                f" say so: -e '{json.dumps({'release_lost': missing})}'"
            )
        whole = {record["id"] for record in self.records}
        for host, view in self.views.items():
            if gone := [name for name in view["damaged"] if name not in whole]:
                raise Unknowable(
                    f"The record of {gone[0]} is damaged on {host}, and no other host has it. Nothing was touched. Where it is"
                    f" known that it is not the live release: rm {view['root']}/releases/{gone[0]}/record.json"
                )
        traces = {host: view["traces"] for host, view in self.views.items() if view["traces"]}
        if not self.records and traces and not start_over:
            seen = "".join(f"\n  {host}: {', '.join(found[:4])}" for host, found in traces.items())
            raise Unknowable(
                f"No host has a record of a release, but something of this system is there:{seen}\n"
                "A first release would take its place, without a backup. Nothing was touched. Bring back /var/lib/slipway from"
                f" a host that has it; or, where this is meant to start over: {START_OVER}"
            )

    def see_free(self, coordinator: str, token: str, ttl: float) -> None:
        """Raise Unknowable where another host than `coordinator` has a lock that somebody else keeps alive.

        That one ships with an inventory in which another edge comes first.
        """
        for host, view in self.views.items():
            held = view["lock"]
            if host != coordinator and held and held["age"] <= ttl and held["holder"].get("token") != token:
                raise Unknowable(
                    f"Another release is under way: {who(held['holder'])} holds the lock on {host}, whose inventory has"
                    " another host first in group edge. Nothing was touched. Wait until it is done."
                )

    def see_way_back(self, wanted: str, token: str, ttl: float) -> None:
        """Raise ReleaseError where a rollback can't go to the release `wanted` (empty: the one before).

        Without either there may still be a release that broke off, and settling it is the rollback; not so where somebody is
        still at work on it.
        """
        if wanted or self.live or rollback_target(self.records):
            rollback_target(self.records, wanted)
            return
        locks = [view["lock"] for view in self.views.values() if view["lock"]]
        if any(lock["age"] <= ttl and lock["holder"].get("token") != token for lock in locks):
            raise Unknowable(
                "The first release is under way, and there is none to go back to: its run goes on, and takes it back where it"
                " fails. Nothing was touched. Ctrl-C in its terminal ends it."
            )

    def see_phase(self, phase: str) -> None:
        """Raise entry.NotYet where `phase` may not be run alone on what is under way, or live."""
        entry.see_alone(self.unfinished, self.live, phase)
