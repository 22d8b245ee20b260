#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: compose_colours
short_description: Which colours of a system run on this host, and which of them works
description:
  - A system has two sets of stateless containers, blue and green, each a Compose project of its own. This module brings a
    host to the state that is asked for, in an order that is safe to interrupt.
  - Workers of a colour that is not O(workers) are brought to an end before those of O(workers) start, so that two
    generations never work at once.
  - Colours that are not mentioned are left alone.
options:
  name:
    description: Name of the system; the projects are C(<name>-blue) and C(<name>-green).
    type: str
    required: true
  running:
    description: Colours whose web services must run and be ready.
    type: list
    elements: str
    default: []
  stopped:
    description: Colours whose containers must be stopped, and are kept.
    type: list
    elements: str
    default: []
  absent:
    description: Colours whose containers must not exist.
    type: list
    elements: str
    default: []
  prepared:
    description: Colours whose networks and volumes must be there, for a one-shot container to join.
    type: list
    elements: str
    default: []
  workers:
    description: The colour whose workers run. V(none) stops all; not given leaves them alone.
    choices: [blue, green, none]
    type: str
  colours:
    description:
      - Directory of the files a colour runs from, by colour, as M(release_bundle) writes them. Needed for each colour in
        O(running) or O(workers).
    type: dict
    default: {}
  timeout:
    description: Seconds until every container must be ready.
    type: int
    default: 120
  wait:
    description:
      - Return when every container is ready. V(false) returns at once, and the host does what is asked for in the background;
        the next call on this host begins when it has been done, and says what went wrong.
    type: bool
    default: true
  settled:
    description: Seconds a container without a health check must have been up.
    type: float
    default: 2
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: Start green beside blue, which goes on working
  compose_colours:
    name: reviews
    running: [green]
    colours:
      green: /var/lib/slipway/reviews/releases/20261121T210000Z-1a2b3c4

- name: Green works, blue is kept for a rollback
  compose_colours:
    name: reviews
    stopped: [blue]
    workers: green
    colours:
      green: /var/lib/slipway/reviews/releases/20261121T210000Z-1a2b3c4
"""

RETURN = r"""
containers:
  description: The containers by colour.
  returned: always
  type: dict
logs:
  description: Last lines of each container that did not become ready, by name.
  returned: on failure
  type: dict
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.compose.project import Project, ProjectError, changed, containers, public
from ansible.module_utils.slipway.host.lock import Busy, alone, detach, promise
from ansible.module_utils.slipway.model.colours import COLOURS


def named(arguments: dict[str, Any]) -> list[str]:
    """Return the colours that the arguments of the module need the files of."""
    workers = [arguments["workers"]] if arguments["workers"] in COLOURS else []
    return [*arguments["running"], *arguments["prepared"], *workers]


class Colours:
    """The colours of a system on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self.arguments = module.params
        self.run = module.run_command
        self.projects = {}
        for colour in COLOURS:
            name, root = f"{self.arguments['name']}-{colour}", self.arguments["colours"].get(colour)
            described = (root, "colour.json", f"slipway-{colour}.yaml")
            # A colour that is only stopped or removed needs no files.
            needed = colour in named(self.arguments)
            # In check mode a release that is yet to be made has no files either.
            known = root and ((needed and not module.check_mode) or Path(root, "colour.json").exists())
            self.projects[colour] = (
                Project.of(module.run_command, name, *described)
                if known
                else Project(module.run_command, name)
            )

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


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "running": {"type": "list", "elements": "str", "default": []},
            "stopped": {"type": "list", "elements": "str", "default": []},
            "absent": {"type": "list", "elements": "str", "default": []},
            "prepared": {"type": "list", "elements": "str", "default": []},
            "workers": {"type": "str", "choices": [*COLOURS, "none"]},
            "colours": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 120},
            "wait": {"type": "bool", "default": True},
            "settled": {"type": "float", "default": 2},
        },
        supports_check_mode=True,
    )
    unknown = [colour for colour in named(module.params) if colour not in module.params["colours"]]
    if unknown:
        module.fail_json(msg=f"`colours` does not say which files {', '.join(unknown)} runs from.")
    if (module.check_mode or not named(module.params)) and not module.get_bin_path("docker"):
        # There are no containers; in a plan, the engine is yet to be installed.
        module.exit_json(changed=bool(named(module.params)), containers={colour: [] for colour in COLOURS})
    try:
        colours = Colours(module)
        if module.check_mode:
            module.exit_json(**coming(colours, colours.containers()))
        timeout = module.params["timeout"]
        with alone(module.params["name"], timeout) as lock:
            before = colours.containers()
            if colours.exclusive:
                promise(lock, timeout + longest_stop(before))
                if not module.params["wait"]:
                    if not detach():
                        module.exit_json(**coming(colours, before))
                    promise(lock, timeout + longest_stop(before))
                after = colours.apply(before)
        if not colours.exclusive:
            after = colours.apply(before)
    except (ProjectError, Busy) as error:
        module.fail_json(msg=str(error), logs=getattr(error, "logs", {}))
    module.exit_json(
        changed=any(changed(before[colour], after[colour]) for colour in COLOURS)
        or any(before[colour] and not after[colour] for colour in COLOURS),
        diff={"before": state(before), "after": state(after)},
        containers={colour: public(found) for colour, found in after.items()},
    )


if __name__ == "__main__":
    main()
