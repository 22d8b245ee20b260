"""A small world of hosts, edges and controllers that are paused, killed and cut off, driven against the real decisions.

Controllers are generators: between two steps anything can happen to them. What they decide they ask of the modules under test
(`known`, `records`, `entry`, `back`, the fence's rule); what a step does to a host is modelled here as the roles do it. `Rules`
takes one decision away at a time, which brings a fault back that slipway has had: the machine has to find each of them.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from ansible.module_utils.slipway.host import fence
from ansible.module_utils.slipway.model import phases
from ansible.module_utils.slipway.model.colours import other
from ansible.module_utils.slipway.release import back, entry, records
from ansible.module_utils.slipway.release.known import Known, Unknowable
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

PHASES = phases.of_kind(phases.DEPLOY)[1:]
Steps = Generator[None, None, None]


@dataclass(frozen=True)
class Rules:
    """What protects a system. Each can be taken away, to see that it is missed."""

    fenced: bool = True  # hosts refuse who has lost the lock
    seen: bool = True  # an edge is back when it was seen to answer, not when it was told to turn
    entry: bool = True  # a phase begins only after the one before it
    union: bool = True  # all hosts are asked what is live, not the first edge alone
    every_edge: bool = True  # a release is complete when every edge says so, not the first
    heals: bool = True  # an edge that points elsewhere is put right before anything is started
    kept_in_finish: bool = True  # the old colour stays until each edge was seen to answer from the new one


class Failed(Exception):
    """A phase has failed."""


class Stopped(Exception):
    """A run ends and changes nothing."""


@dataclass
class Host:
    """What lies on a host."""

    records: dict[str, records.Record] = field(default_factory=dict)
    flag: str = "none"
    fence: dict[str, Any] = field(default_factory=lambda: {"generation": 0})
    watches: dict[str, str] = field(default_factory=dict)

    def write(self, record: records.Record) -> None:
        """As Releases.write does."""
        there = self.records.get(record["id"])
        if there is None or records.age(there) <= records.age(record):
            self.records[record["id"]] = copy.deepcopy(record)


class World:
    """Two edges, an app host, and what runs on it by colour."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.hosts = {name: Host() for name in ("edge1", "edge2", "app1")}
        self.edges = ["edge1", "edge2"]
        self.running: dict[str, str | None] = {"blue": None, "green": None, "none": None}
        self.bad: set[str] = set()
        self.cut: set[str] = set()
        self.lock: tuple[str, str] | None = None  # host, token
        self.asleep: set[str] = set()
        self.confirmed: dict[str, set[str]] = {}
        self.clock = 0

    def good(self, edge: str) -> bool:
        """Whether users of an edge are answered well."""
        running = self.running[self.hosts[edge].flag]
        return edge not in self.cut and running is not None and running not in self.bad

    def good_colours(self) -> set[str]:
        """The colours that could serve."""
        return {colour for colour, running in self.running.items() if running not in {None, *self.bad}}

    def answers(self, edge: str, colour: str) -> bool:
        running = self.running[colour]
        return edge not in self.cut and running is not None and running not in self.bad

    def known(self) -> Known:
        names = self.hosts if self.rules.union else self.edges[:1]
        return Known({name: self.view(name) for name in names}, self.edges)

    def view(self, name: str) -> dict[str, Any]:
        host = self.hosts[name]
        return {
            "root": "/var/lib/slipway/shop",
            "records": sorted(copy.deepcopy(list(host.records.values())), key=records.order),
            "damaged": [],
            "edge": host.flag,
            "fence": dict(host.fence),
            "lock": None,
            "watches": dict(host.watches),
            "files": [],
            "stateful": True,
            "traces": [],
        }

    def turn(
        self, edge: str, colour: str, mine: dict[str, Any], back_on_failure: bool = True
    ) -> dict[str, Any]:
        """As edge_switch does."""
        self.enter(edge, mine)
        host = self.hosts[edge]
        before = host.flag
        if before != colour and colour != "none" and back_on_failure and not self.answers(edge, colour):
            return {"colour": before, "before": before, "msg": f"was not turned to {colour}"}
        host.flag = colour
        if colour == "none":
            return {"colour": colour, "before": before}
        if self.answers(edge, colour):
            return {"colour": colour, "before": before, "confirmed_ms": 1.0}
        if back_on_failure:
            host.flag = before
        return {"colour": host.flag, "before": before, "msg": f"{colour} does not answer"}

    def enter(self, name: str, mine: dict[str, Any]) -> None:
        """As every module does that changes a host."""
        if self.rules.fenced and fence.refuses(self.hosts[name].fence, mine):
            raise fence.Lost(self.hosts[name].fence)


class Run:
    """One run of ansible-playbook: `steps` is where it is."""

    def __init__(self, world: World, token: str) -> None:
        self.world, self.token = world, token
        self.mine: dict[str, Any] = {}
        self.known: Known = world.known()
        self.at = ""

    # -- the lock and what is known

    def lock(self) -> Steps:
        world = self.world
        self.known = world.known()
        if world.rules.union:
            self.known.see_enough()
        if world.lock and world.lock[1] not in world.asleep and world.lock[0] == world.edges[0]:
            raise Stopped("held")
        world.lock = (world.edges[0], self.token)
        self.mine = {"generation": self.known.generation + 1, "token": self.token}
        yield
        for host in world.hosts.values():
            if fence.refuses(host.fence, self.mine) and world.rules.fenced:
                raise fence.Lost(host.fence)
            host.fence = dict(self.mine)
            yield
        self.known = world.known()

    def leave(self) -> None:
        if self.world.lock and self.world.lock[1] == self.token:
            self.world.lock = None

    # -- records

    def write(self, name: str, record: records.Record) -> None:
        self.world.enter(name, self.mine)
        self.world.hosts[name].write({**record, "written": self.mine["generation"]})

    def note(self, release: records.Record, phase: str) -> None:
        self.at = phase
        lead = self.world.edges[0]
        self.world.enter(lead, self.mine)
        record = self.world.hosts[lead].records.get(release["id"])
        if record is None:
            raise Failed(f"no record on {lead}")
        if self.world.rules.entry:
            entry.see(record, phase, self.token)
        self.write(lead, {**record, "phase": phase, "run": self.token})

    def close(self, release: records.Record, verdict: str) -> Steps:
        for name in self.world.hosts:
            self.world.enter(name, self.mine)
            there = list(self.world.hosts[name].records.values())
            if release["id"] in self.world.hosts[name].records:
                for record in records.closed(there, release["id"], verdict, None, f"{self.world.clock:04d}"):
                    self.write(name, record)
            yield

    # -- what a run is made of

    def settle(self) -> Steps:
        broken = self.known.unfinished
        if broken is not None:
            how = self.known.settlement
            if not self.world.rules.every_edge:
                first = self.world.edges[0]
                watch = {first: self.world.hosts[first].watches.get(broken["id"])}
                how = records.settlement(broken, {first: self.world.hosts[first].flag}, watch)
            self.at = str(broken.get("phase"))
            silent = [edge for edge in self.world.edges if not self.world.good(edge)]
            if how == "complete" and not silent:
                yield from self.complete(broken)
            else:
                yield from self.way_back(broken)
            self.known = self.world.known()
        for name in self.known.lacking:
            for record in self.known.records:
                self.world.enter(name, self.mine)
                self.world.hosts[name].write(record)
            yield
        self.known = self.world.known()

    def deploy(self, identifier: str) -> Steps:
        yield from self.lock()
        yield from self.settle()
        live = self.known.live
        release = {
            "id": identifier,
            "kind": phases.DEPLOY,
            "colour": other(self.known.colour),
            "previous_colour": self.known.colour,
            "previous": live["id"] if live else None,
            "generation": self.mine["generation"],
            "run": self.token,
            "phase": "prepare",
            "members": list(self.world.hosts),
        }
        for name in self.world.hosts:
            self.write(name, release)
            yield
        self.at = "prepare"
        for phase in PHASES[1:]:
            yield from self.phase(release, phase)
        self.leave()

    def alone(self, phase: str) -> Steps:
        yield from self.lock()
        begun, live = self.known.unfinished, self.known.live
        if self.world.rules.entry:
            entry.see_alone(begun, live, phase)
        if begun is None:
            self.leave()
            return
        yield from self.phase(begun, phase)
        lead = self.world.hosts[self.world.edges[0]]
        if phase != "finish" and begun["id"] in lead.records:
            self.write(self.world.edges[0], {**lead.records[begun["id"]], "passed": phase})
        self.leave()

    def phase(self, release: records.Record, phase: str) -> Steps:
        try:
            self.note(release, phase)
            yield
            yield from self.do(release, phase)
        except (Failed, entry.NotYet, fence.Lost) as error:
            if phase == "finish":
                raise Stopped(str(error)) from error
            lost = any(fence.refuses(host.fence, self.mine) for host in self.world.hosts.values())
            if self.world.rules.fenced and lost:
                raise Stopped("lost") from error
            yield
            yield from self.way_back(release)
            self.leave()
            raise Stopped(f"taken back: {error}") from error

    def do(self, release: records.Record, phase: str) -> Steps:
        world, colour = self.world, release["colour"]
        if phase == "start":
            for edge in self.known.misdirected if world.rules.heals else []:
                live = self.known.live
                if live is None or "confirmed_ms" in world.turn(edge, live["colour"], self.mine):
                    continue
                if world.good(edge):
                    raise Failed("an edge points elsewhere, and serves")
            yield
            world.enter("app1", self.mine)
            world.running[colour] = None
            yield
            world.enter("app1", self.mine)
            world.running[colour] = release["id"]
        elif phase == "verify":
            if world.running[colour] in {None, *world.bad}:
                raise Failed("not good")
        elif phase == "switch":
            for edge in world.edges:
                if "confirmed_ms" not in world.turn(edge, colour, self.mine):
                    raise Failed("did not turn")
                yield
        elif phase == "confirm":
            for edge in world.edges:
                if not (world.good(edge) and world.hosts[edge].flag == colour):
                    raise Failed("not confirmed")
            world.confirmed[release["id"]] = set(world.edges)
        elif phase == "watch":
            for edge in world.edges:
                yield from self.watch(release, edge)
            if any(world.hosts[edge].watches.get(release["id"]) != "pass" for edge in world.edges):
                raise Failed("watch")
        elif phase == "finish":
            yield from self.complete(release)

    def watch(self, release: records.Record, edge: str) -> Steps:
        """As release_watch does, on the edge."""
        yield
        world, host, old = self.world, self.world.hosts[edge], release["previous_colour"]
        world.enter(edge, self.mine)
        good = world.good(edge) and host.flag == release["colour"]
        if not good and old != "none" and (world.answers(edge, old) or not world.rules.seen):
            host.flag = old
        host.watches[release["id"]] = "pass" if good else "fail"

    def complete(self, release: records.Record) -> Steps:
        world, old = self.world, release["previous_colour"]
        for edge in world.edges if world.rules.kept_in_finish else []:
            if not (world.good(edge) and world.hosts[edge].flag == release["colour"]):
                raise Stopped("an edge does not answer")
        # No step between: what goes bad right after it was seen, nobody could have known.
        world.enter("app1", self.mine)
        if old != release["colour"]:
            world.running[old] = None
        yield from self.close(release, "live")

    def way_back(self, release: records.Record) -> Steps:
        world, old, live = self.world, release["previous_colour"], self.known.live
        if old != "none" and live is not None:
            world.enter("app1", self.mine)
            # Started from its files, where it does not run.
            world.running[old] = world.running[old] or live["id"]
        yield
        turned = {}
        for edge in world.edges:
            turned[edge] = world.turn(edge, old, self.mine, back_on_failure=world.rules.seen)
            yield
        told = {edge: {**one, "confirmed_ms": 0.0} for edge, one in turned.items()}
        had_traffic = not phases.before_traffic(self.at)
        if back.trouble(old, release["colour"], turned if world.rules.seen else told, had_traffic):
            raise Stopped("not every edge is back")
        world.enter("app1", self.mine)
        if release["colour"] != old:
            world.running[release["colour"]] = None
        yield
        verdict = "abandoned" if phases.before_traffic(self.at) else "rolled_back"
        yield from self.close(release, verdict)


ENDS = (Stopped, Unknowable, entry.NotYet, fence.Lost, Failed)


def after(run: Run, phase: str, steps: int) -> Callable[[], bool]:
    """Return what says when a run has gone `steps` steps, counted from its coming to `phase`, or from now on."""
    left = [steps]

    def there() -> bool:
        if phase in ("", run.at):
            left[0] -= 1
        return left[0] < 0

    return there


# Phases that do something in this world.
STATES = ["start", "verify", "switch", "confirm", "watch", "finish"]
EVENTS = ["nothing", "new release goes bad", "live release goes bad", "second edge is cut off"]


class Fleet(RuleBasedStateMachine):
    """Anything may happen between two steps of a run, and to any host."""

    protection = Rules()
    suspended = Bundle("suspended")

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.protection)
        self.number = 0
        self.was_good: dict[str, bool] = {}
        self.had_good = False

    def begin(self) -> tuple[Run, str]:
        # Whoever runs holds the lock only while it runs; the runs of this machine follow each other.
        self.number += 1
        self.world.clock += 1
        self.remember()
        # The clocks of controllers differ: ids do not follow the order of releases.
        identifier = f"20261121T{(self.number * 7) % 24:02d}0000Z-{self.number:07d}"
        return Run(self.world, f"run{self.number}"), identifier

    def remember(self) -> None:
        # A first release that breaks off is taken back, and then nothing serves, as before it.
        ever = any("live_from" in one for host in self.world.hosts.values() for one in host.records.values())
        self.was_good = {edge: ever and self.world.good(edge) for edge in self.world.edges}
        live = self.world.known().live
        used = {
            *(self.world.hosts[edge].flag for edge in self.world.edges),
            live["colour"] if live else "none",
        }
        self.had_good = ever and bool(used & self.world.good_colours())

    def until(self, steps: Steps, stop: Callable[[], bool]) -> bool:
        """Let a run go on until `stop`, or to its end; True where it has ended. Nothing that works is lost in between either."""
        with contextlib.suppress(*ENDS):
            for _ in steps:
                self.an_edge_that_had_a_good_colour_still_has_one()
                if stop():
                    return False
        return True

    def happens(self, event: str, identifier: str) -> None:
        """Something happens to the world that no run has done."""
        world = self.world
        live = world.known().live
        if event == "new release goes bad":
            world.bad.add(identifier)
        elif event == "live release goes bad" and live is not None:
            world.bad.add(live["id"])
        elif event == "second edge is cut off":
            world.cut.add(world.edges[-1])
        self.remember()

    @rule(
        target=suspended,
        phase=st.sampled_from(STATES),
        steps=st.integers(0, 3),
        event=st.sampled_from(EVENTS),
        more=st.integers(0, 3),
        fate=st.sampled_from(["goes on", "is killed", "is suspended"]),
    )
    def ships(self, phase: str, steps: int, event: str, more: int, fate: str) -> Any:
        """Some steps into a phase something happens, and some steps later the run goes on, is killed or is suspended."""
        run, identifier = self.begin()
        going = run.deploy(identifier)
        ended = self.until(going, after(run, phase, steps))
        self.happens(event, identifier)
        ended = ended or self.until(going, after(run, "", more) if fate != "goes on" else lambda: False)
        self.world.asleep.add(run.token)
        return multiple() if ended or fate != "is suspended" else (run, going)

    @rule(one=consumes(suspended))
    def wakes(self, one: tuple[Run, Steps]) -> None:
        self.remember()
        _run, going = one
        self.until(going, lambda: False)

    @rule(at=st.sampled_from(STATES), steps=st.integers(0, 3), phase=st.sampled_from(STATES))
    def is_killed_and_a_phase_follows(self, at: str, steps: int, phase: str) -> None:
        run, identifier = self.begin()
        self.until(run.deploy(identifier), after(run, at, steps))
        self.world.asleep.add(run.token)
        self.phase_alone(phase)

    @rule(at=st.sampled_from(STATES), steps=st.integers(0, 3))
    def is_suspended_while_another_ships(self, at: str, steps: int) -> None:
        run, identifier = self.begin()
        going = run.deploy(identifier)
        self.until(going, after(run, at, steps))
        self.world.asleep.add(run.token)
        other_run, another = self.begin()
        self.until(other_run.deploy(another), lambda: False)
        self.world.asleep.add(other_run.token)
        self.wakes((run, going))

    @rule(event=st.sampled_from(EVENTS))
    def something_happens_just_before_the_end(self, event: str) -> None:
        run, identifier = self.begin()
        going = run.deploy(identifier)
        ended = self.until(going, after(run, "finish", 0))
        self.happens(event, identifier)
        _ = ended or self.until(going, lambda: False)
        self.world.asleep.add(run.token)

    @rule(phase=st.sampled_from(STATES))
    def phase_alone(self, phase: str) -> None:
        run, _ = self.begin()
        self.until(run.alone(phase), lambda: False)
        self.world.asleep.add(run.token)

    @rule(name=st.sampled_from(["edge1", "edge2"]))
    def an_edge_is_rebuilt(self, name: str) -> None:
        self.world.hosts[name] = Host()
        self.remember()

    @rule()
    def the_inventory_is_reordered(self) -> None:
        self.world.edges.reverse()

    @rule()
    def the_network_is_back(self) -> None:
        self.world.cut.clear()
        self.remember()

    @rule(edge=st.sampled_from(["edge1", "edge2"]))
    def somebody_turns_an_edge_by_hand(self, edge: str) -> None:
        """To the other colour, which is started for it where it was at rest."""
        host, running = self.world.hosts[edge], self.world.running
        if host.flag != "none":
            host.flag = other(host.flag)
            running[host.flag] = running[host.flag] or "what was at rest"
        self.remember()

    @invariant()
    def an_edge_that_had_a_good_colour_still_has_one(self) -> None:
        for edge, good in self.was_good.items():
            assert not good or self.world.good(edge), f"{edge} lost a colour that was good"

    @invariant()
    def what_could_serve_is_not_removed_for_what_can_not(self) -> None:
        assert not self.had_good or self.world.good_colours(), "no colour is left that works"

    @invariant()
    def at_most_one_release_is_live(self) -> None:
        every = records.union([list(host.records.values()) for host in self.world.hosts.values()])
        live = [one["id"] for one in every if one.get("verdict") == "live" and not one.get("live_until")]
        assert len(live) <= 1, live

    @invariant()
    def what_is_live_was_confirmed_on_every_edge(self) -> None:
        for host in self.world.hosts.values():
            for record in host.records.values():
                if record.get("verdict") == "live":
                    assert self.world.confirmed.get(record["id"]) == {"edge1", "edge2"}, record["id"]

    def teardown(self) -> None:
        """Whatever happened, once hosts and application are repaired the next deploy goes live on every edge."""
        self.world.bad.clear()
        self.world.cut.clear()
        for _ in range(2):
            run, identifier = self.begin()
            self.until(run.deploy(identifier), lambda: False)
            self.world.asleep.add(run.token)
        live = self.world.known().live
        assert live is not None and live["id"] == identifier, "the next deploy did not go live"
        assert all(
            self.world.good(edge) and self.world.hosts[edge].flag == live["colour"]
            for edge in self.world.edges
        )


QUICK = settings(
    max_examples=150, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
)
HARD = settings(
    QUICK,
    max_examples=20000,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    # The first that is found is enough: it need not be made small.
    phases=[Phase.generate],
)


def test_nothing_that_works_is_lost() -> None:
    run_state_machine_as_test(Fleet, settings=QUICK)


@pytest.mark.parametrize(
    "missing", ["fenced", "seen", "entry", "union", "every_edge", "heals", "kept_in_finish"]
)
def test_each_rule_is_missed(missing: str) -> None:
    """Proof that the machine would find the fault that the rule keeps out."""
    weaker = type("Weaker", (Fleet,), {"protection": replace(Rules(), **{missing: False})})
    with pytest.raises(AssertionError):
        run_state_machine_as_test(weaker, settings=HARD)
