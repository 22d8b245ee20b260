#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: release_plan
short_description: Decide what a run is going to do, and what each host does in it
description:
  - Compares what the inventory asks for with the release that is live, and returns the release that is to be made, its
    colour, what it is made from, and what each host does. Where nothing has changed, that is the live one, with C(needed) false.
  - Runs on the controller, and touches nothing.
options:
  root:
    description: Directory of the system on the hosts.
    type: path
    required: true
  kind:
    description:
      - V(deploy) plans a release from what the inventory declares, V(rollback) from the record of the release that is gone
        back to.
      - V(join) plans nothing. It takes up the release that is under way, else the live one, for a phase that is run alone.
    choices: [deploy, rollback, join]
    default: deploy
    type: str
  records:
    description: The release records, what all hosts know together.
    type: list
    elements: dict
    required: true
  edge:
    description: The colour that is live, which a new release leaves alone; before there is one, where the edge points.
    type: str
    required: true
  bare:
    description: App hosts that have nothing of the live release any more. They are a reason to ship.
    type: list
    elements: str
    default: []
  wanted:
    description: Id of the release to go back to; empty means the one that was live before.
    type: str
    default: ""
  force:
    description: Release even where nothing has changed.
    type: bool
    default: false
  keep_warm:
    description: The old colour goes on running after the release, so that a rollback is only the switch.
    type: bool
    default: false
  database:
    description: >
      Address of the database, empty where only its socket is known; not given where the system has none. What is done with it is
      done on the host that has this address, else on the first data host, else on the first app host.
    type: str
  moved:
    description: Stateful services that may move to another host, as their data has been brought there.
    type: list
    elements: str
    default: []
  variables:
    description: The inventory's C(app_*) and C(environment_*) variables.
    type: dict
    default: {}
  source:
    description: Where the source is on the controller (C(dir)), its Compose files (C(compose)), C(version) and C(revision).
    type: dict
    default: {}
  edge_settings:
    description: Settings of the edge that belong to the release.
    type: dict
    default: {}
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
"""

EXAMPLES = r"""
- name: What is there to do?
  release_plan:
    root: /var/lib/slipway/reviews
    kind: rollback
    records: "{{ history.records }}"
    edge: blue
"""

RETURN = r"""
release:
  description: >
    The release. Its record on the hosts has the same keys, and those that say how it ended; without C(alone), C(hosts),
    C(before_traffic) and C(makes_database), which are decided anew by each run.
  returned: always
  type: dict
  contains:
    id: {description: "Its id: when it was planned, and the short revision.", type: str}
    kind: {description: V(deploy) or V(rollback)., type: str}
    system: {description: Name of the system., type: str}
    version: {description: "What was asked for: a branch, tag or commit; empty for systems of images.", type: str}
    revision: {description: The commit, or a digest of the source directory., type: str}
    previous: {description: Id of the release that was live; null for the first., type: str}
    why: {description: "What has changed since that, in words.", type: list, elements: str}
    needed: {description: There is something to ship; false for the live release., type: bool}
    alone: {description: "It was taken up by a phase that is run by itself, with O(kind=join).", type: bool}
    content: {description: Id of the release whose files it runs from; another than its own for a rollback., type: str}
    previous_content: {description: The same of the release that was live., type: str}
    inputs: {description: "A digest of each thing it is made from, by name.", type: dict}
    builds: {description: "What M(image_build) builds.", type: list, elements: dict}
    references: {description: "Images that are not built, by service.", type: dict}
    image_owners: {description: "Whose image each service runs, by service.", type: dict}
    images: {description: "Name of the image on the hosts, by service.", type: dict}
    image_ids: {description: "Digest of the image, by service; known from phase build on.", type: dict}
    services: {description: "Names of the services, by kind.", type: dict}
    environment_key: {description: Key of the digest of the environment., type: str}
    edge: {description: Settings of the edge., type: dict}
    colour: {description: The colour it runs in., type: str}
    previous_colour: {description: "The colour that has the traffic: V(blue), V(green) or V(none).", type: str}
    domain: {description: The public name., type: str}
    url: {description: The public address., type: str}
    health: {description: Path at which the first web service tells that it is well., type: str}
    routes: {description: "C(service), C(route) and C(health) of each web service.", type: list, elements: dict}
    servers: {description: "Addresses as host:port, by web service and colour.", type: dict}
    upstreams: {description: "The same as nginx is told: in the other colour those of the release before.", type: dict}
    probes: {description: "C(address) and C(path) that must answer before an edge turns to it.", type: list, elements: dict}
    back_probes: {description: The same of the release before., type: list, elements: dict}
    directories: {description: "Directory of the files on the hosts, by colour.", type: dict}
    app_hosts: {description: "C(address) and C(services) of each host that runs it, by host.", type: dict}
    previous_app_hosts: {description: Hosts of the inventory that run the release before., type: list, elements: str}
    colour_hosts: {description: Hosts that run either., type: list, elements: str}
    stateful_on: {description: "Host of each stateful service, by service.", type: dict}
    database_host: {description: Host from which the database is looked after., type: str}
    members: {description: Every host of the inventory., type: list, elements: str}
    hosts:
      description: What each host does, by host.
      type: dict
      contains:
        leads: {description: "The first edge: replicas are asked from it, images built for all on its behalf.", type: bool}
        turns: {description: It is an edge., type: bool}
        dumps: {description: The database is dumped from here now., type: bool}
        database: {description: The database is looked at and indexed from here., type: bool}
        keeps: {description: Directories that go into the backup., type: list, elements: str}
        ships: {description: Services whose images it gets., type: list, elements: str}
        files: {description: It gets the files of the release., type: bool}
        stateful: {description: Stateful services that run here., type: list, elements: str}
        migrates: {description: The migrations run here., type: bool}
        starts: {description: It runs the colour of the release., type: bool}
        takes_part: {description: "It runs the colour, or ran the one before.", type: bool}
        hands_over: {description: Workers are handed over here., type: bool}
        workers: {description: "The colour whose workers work here once it is live, or V(none).", type: str}
        ran: {description: It ran the release before., type: bool}
        left: {description: "It has containers, but is an app host no longer.", type: bool}
        clears: {description: It is to have nothing of the system in the end., type: bool}
        joined: {description: "It is an app host, but was none in the release that is gone back to.", type: bool}
        end: {description: "Options of M(compose_colours) once the release is live.", type: dict}
        back: {description: "Options of M(compose_colours) once it was taken back.", type: dict}
    backup: {description: Id of the backup that phase backup makes., type: str}
    before_traffic: {description: Phases in which it has no traffic., type: list, elements: str}
    makes_database: {description: "It is the first, and makes the database.", type: bool}
    edge_stays: {description: "A rollback, and the site of the edge stays as it is.", type: bool}
    warm: {description: "A rollback, and the colour it goes back to still runs.", type: bool}
    workers_move: {description: Workers end on one host and start on another., type: bool}
    keep_warm: {description: The old colour goes on running., type: bool}
    started_at: {description: "When, in UTC.", type: str}
    phase: {description: The phase that was begun last., type: str}
    passed: {description: The last phase that was run alone and passed., type: str}
    run: {description: Token of the run that began the phase., type: str}
    generation: {description: "Number of the run that began the release: its place in time.", type: int}
    written: {description: Number of the run that wrote the record., type: int}
    verdict: {description: "V(live), V(rolled_back), V(abandoned) or V(inconclusive); null while it is under way.", type: str}
    reason: {description: Why it ended so., type: str}
    ended_at: {description: "When, in UTC.", type: str}
    live_from: {description: Since when it is or was live., type: str}
    live_until: {description: Until when it was., type: str}
    taken_back: {description: A rollback ended it., type: bool}
    keeps_warm: {description: The release before it goes on running., type: bool}
"""
