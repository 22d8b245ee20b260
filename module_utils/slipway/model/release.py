# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""A release as everybody hands it on: `release_this` of a run, and the record of it that every host keeps as JSON.

`ansible-doc release_plan` documents each key for people; a test holds that page against these types. Keys that a record of an
older slipway lacks are filled in by `release.records.complete`.
"""

from __future__ import annotations

from typing import Any, TypedDict


class Containers(TypedDict):
    """What compose_colours is to bring about on a host: options of that module by the same names."""

    running: list[str]
    workers: str
    stopped: list[str]
    absent: list[str]


class HostPlan(TypedDict):
    """What one host does in a release, decided by `release.hosts`; playbooks read it and decide nothing."""

    leads: bool  # the first edge: images are built on its behalf, and replicas are asked from it
    turns: bool  # is an edge
    dumps: bool  # dumps the database now
    database: bool  # has the database looked at and indexed from here
    keeps: list[str]  # directories that go into the backup beside the dump
    ships: list[str]  # services whose images it gets
    files: bool  # gets the files of the release
    stateful: list[str]  # services with data that run here
    migrates: bool  # runs the migrations
    starts: bool  # runs the release's colour
    takes_part: bool  # runs the release's colour, or ran the one before: has containers to look after
    hands_over: bool  # has workers of either release
    workers: str  # the colour whose workers work here once it is live: blue, green or none
    ran: bool  # ran the release before
    left: bool  # has containers, but is an app host no longer
    clears: bool  # is to have nothing of the system in the end
    joined: bool  # is an app host, but was none in the release that is gone back to
    end: Containers  # what runs here once the release is live
    back: Containers  # what runs here once it was taken back


class Release(TypedDict, total=False):
    """One release. Which it is, what it is made from, where it runs, and what became of it."""

    # which it is
    id: str
    kind: str  # deploy or rollback
    system: str
    version: str
    revision: str
    previous: str | None  # id of the release that was live
    why: list[str]  # what has changed, in words
    needed: bool  # False: nothing to ship, this is the release that is live
    alone: bool  # taken up by a phase that is run by itself

    # what it is made from
    content: str  # id of the release whose files it runs from; its own unless it is a rollback
    previous_content: str | None
    inputs: dict[str, str]  # digest by what it is made from
    builds: list[dict[str, Any]]
    references: dict[str, str]
    image_owners: dict[str, str]
    images: dict[str, str]
    image_ids: dict[str, str]
    services: dict[str, list[str]]  # names by kind
    environment_key: str
    edge: dict[str, Any]  # settings of the edge

    # where it runs
    colour: str
    previous_colour: str  # blue, green or none
    domain: str
    url: str
    health: str
    routes: list[dict[str, str]]
    servers: dict[str, dict[str, list[str]]]  # addresses by service and colour
    upstreams: dict[str, dict[str, list[str]]]  # the same with those of the release before in its colour
    probes: list[dict[str, str]]
    back_probes: list[dict[str, str]]  # the same of the release before
    directories: dict[str, str]  # by colour
    app_hosts: dict[str, dict[str, Any]]
    previous_app_hosts: list[str]
    colour_hosts: list[str]
    stateful_on: dict[str, str]
    database_host: str
    members: list[str]  # every host of the inventory
    hosts: dict[str, HostPlan]

    # how it is done
    backup: str  # id of the backup that is taken
    before_traffic: list[str]  # phases in which it has no traffic
    makes_database: bool
    edge_stays: bool
    warm: bool
    workers_move: bool
    keep_warm: bool

    # what became of it
    started_at: str
    phase: str  # the one that was begun last
    passed: str  # the last one that was run alone and passed
    run: str  # token of the run that noted the phase
    generation: int  # number of the run that began the release
    written: int  # number of the run that wrote this
    verdict: str | None
    reason: str
    ended_at: str
    live_from: str
    live_until: str
    taken_back: bool
    keeps_warm: bool
