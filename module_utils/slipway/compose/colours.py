# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Brings the colours of a system on this host to the state that is asked for, in an order that is safe to interrupt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..host import fence
from ..host.lock import alone, detach, promise
from ..model.colours import COLOURS
from .project import Project, ProjectError, Run, changed, containers, public


def bring(
    run: Run, find: Callable[[str], str | None], asked: dict[str, Any], check: bool = False
) -> dict[str, Any]:
    """Bring this host to the state in `asked`, the options of the module compose_colours; return what that came to.

    `find` says where a program lies. With `check` nothing is touched, and the result says what would be. Without
    `asked["wait"]` it is done by a process of its own, which returns too, when whoever called has long gone.

    Raises ProjectError where docker refuses or a container does not become ready, host.lock.Busy where somebody else is at
    work here for longer than they said.
    """
    needed = named(asked)
    unknown = [colour for colour in needed if colour not in asked["colours"]]
    if unknown:
        raise ProjectError(f"`colours` does not say which files {', '.join(unknown)} runs from.")
    if (check or not needed) and not find("docker"):
        # There are no containers; in a plan, the engine is yet to be installed.
        return {"changed": bool(needed), "containers": {colour: [] for colour in COLOURS}}
    colours = Colours(run, asked, check)
    if check:
        return coming(colours, colours.containers())
    timeout = asked["timeout"]
    with alone(asked["name"], timeout) as lock:
        # Whoever was waited for here may have been the run that has it now.
        fence.see(asked.get("fence"))
        before = colours.containers()
        if colours.exclusive:
            promise(lock, timeout + longest_stop(before))
            if not asked["wait"]:
                if not detach():
                    return coming(colours, before)
                promise(lock, timeout + longest_stop(before))
            after = colours.apply(before)
    if not colours.exclusive:
        after = colours.apply(before)
    return {
        "changed": any(changed(before[colour], after[colour]) for colour in COLOURS)
        or any(before[colour] and not after[colour] for colour in COLOURS),
        "diff": {"before": state(before), "after": state(after)},
        "containers": {colour: public(found) for colour, found in after.items()},
    }


def named(arguments: dict[str, Any]) -> list[str]:
    """Return the colours that the arguments of the module need the files of."""
    workers = [arguments["workers"]] if arguments["workers"] in COLOURS else []
    return [*arguments["running"], *arguments["prepared"], *workers]


class Colours:
    """The colours of a system on this host."""

    def __init__(self, run: Run, arguments: dict[str, Any], check: bool) -> None:
        self.arguments = arguments
        self.run = run
        self.projects = {}
        for colour in COLOURS:
            name, root = f"{self.arguments['name']}-{colour}", self.arguments["colours"].get(colour)
            files = (root, "colour.json", f"slipway-{colour}.yaml")
            # A colour that is only stopped or removed needs no files.
            needed = colour in named(self.arguments)
            # In check mode a release that is yet to be made has no files either.
            known = root and ((needed and not check) or Path(root, "colour.json").exists())
            self.projects[colour] = Project.of(run, name, *files) if known else Project(run, name)

    def containers(self) -> dict[str, list[dict[str, Any]]]:
        """Return the containers by colour."""
        found = containers(self.run, [project.name for project in self.projects.values()])
        return {colour: found[project.name] for colour, project in self.projects.items()}

    @property
    def exclusive(self) -> bool:
        """Whether nobody else may be at it meanwhile.

        Who only starts web services waits for others, but nobody waits for them: where the run has died that started a
        colour which never becomes ready, the next one removes it at once.
        """
        asked = self.arguments
        return asked["workers"] is not None or bool(asked["stopped"] or asked["absent"]) or not asked["wait"]

    def services(self, colour: str, kind: str) -> list[str]:
        """Return the services of a colour on this host that are of a kind (web or worker)."""
        return list(self.projects[colour].spec.get(kind, []))

    def strays(self, colour: str, before: dict[str, list[dict[str, Any]]]) -> set[str]:
        """Return the services that have containers in a colour, but not by the files it runs from on this host."""
        here = {*self.services(colour, "web"), *self.services(colour, "worker")}
        return {found["service"] for found in before[colour]} - here

    def wanted(self, colour: str) -> list[str]:
        """Return the services of a colour that are to run."""
        services: list[str] = []
        if colour in self.arguments["running"]:
            services += self.services(colour, "web")
        if colour == self.arguments["workers"]:
            services += self.services(colour, "worker")
        return services

    def apply(self, before: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
        """Bring the host, which has the containers `before`, to the wanted state; return those it has then.

        Raises ProjectError where a container can't.
        """
        touched, before = False, dict(before)
        workers = self.arguments["workers"]
        for colour in self.arguments["prepared"]:
            self.projects[colour].ensure()
        for colour in self.arguments["running"]:
            # What an earlier release ran here in this colour, on a host that was away, say.
            if strays := self.strays(colour, before):
                touched |= self.projects[colour].remove(strays)
                before[colour] = [found for found in before[colour] if found["service"] not in strays]
            touched |= self.up(colour, "web", before[colour])
        if workers is not None:
            # What is not a web service of either release is a worker.
            web = {name for one in COLOURS for name in self.services(one, "web")}
            for colour in COLOURS:
                idle = {found["service"] for found in before[colour]} - web
                if colour != workers and idle:
                    touched |= self.projects[colour].stop(idle, before[colour])
            if workers != "none":
                touched |= self.up(workers, "worker", before[workers])
        for colour in self.arguments["stopped"]:
            touched |= self.projects[colour].stop()
        for colour in self.arguments["absent"]:
            touched |= self.projects[colour].remove()
        return self.containers() if touched else before

    def up(self, colour: str, kind: str, there: list[dict[str, Any]]) -> bool:
        """Run the services of a colour that are of a kind (web or worker); False where nothing had to be done."""
        if services := self.services(colour, kind):
            patience = {name: self.arguments[name] for name in ("wait", "timeout", "settled")}
            moved: bool = self.projects[colour].up(
                services, recreate=True, listening=kind == "web", there=there, **patience
            )
            return moved
        return False

    def pending(self, before: dict[str, list[dict[str, Any]]]) -> list[str]:
        """Say what `apply` would change."""
        words = []
        for colour in COLOURS:
            running = {found["service"] for found in before[colour] if found["status"] == "running"}
            words += [f"{colour}: start {name}" for name in self.wanted(colour) if name not in running]
            if colour in self.arguments["running"] and not self.projects[colour].spec:
                words.append(f"{colour}: start the new release")
            elif colour in self.arguments["running"] and (strays := self.strays(colour, before)):
                words.append(f"{colour}: remove {', '.join(sorted(strays))}")
            if colour in self.arguments["stopped"] and running:
                words.append(f"{colour}: stop {', '.join(sorted(running))}")
            if colour in self.arguments["absent"] and before[colour]:
                words.append(f"{colour}: remove {len(before[colour])} containers")
        return words


def state(containers: dict[str, list[dict[str, Any]]]) -> str:
    """Return the containers as text for a diff."""
    return "".join(
        f"{found['name']}: {found['status']} {found['release']}\n"
        for all_ in containers.values()
        for found in all_
    )


def longest_stop(containers: dict[str, list[dict[str, Any]]]) -> float:
    """Return the seconds that a container may take to end, the slowest of all."""
    return float(max((found["stop_timeout"] for all_ in containers.values() for found in all_), default=0))


def coming(colours: Colours, before: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the result that says what is going to change."""
    todo = colours.pending(before)
    return {
        "changed": bool(todo),
        "diff": {"before": state(before), "after": state(before) + "".join(f"{line}\n" for line in todo)},
        "containers": {colour: public(found) for colour, found in before.items()},
    }
