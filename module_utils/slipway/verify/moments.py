# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""One declaration, several moments of a release: which entries apply, and where their paths lead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from .http.client import Address, parse_address, parse_url
from .predicates import SpecError, show, unknown_keys

T = TypeVar("T")
# dark: replica by replica before there is traffic. public: through the edge. demand: whenever somebody asks.
MOMENTS = ("dark", "public", "demand")


_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")


class Place(NamedTuple):
    """Where requests go: a base URL, and the address behind it. `name` tells replicas apart, or is empty.

    A replica of one service among several has the `route` its paths begin with, all `routes` of the system, and the
    path at which its service tells its `health`.
    """

    base_url: str | None
    connect_to: str | None = None
    ca_file: str | None = None
    name: str = ""
    route: str = ""
    routes: tuple[str, ...] = ()
    health: str = ""

    def serves(self, path: str) -> bool:
        """Whether a path leads to this service: the longest route it begins with decides, as at the edge."""
        if len(self.routes) < 2 or not path.startswith("/"):
            return True
        owner = max((route for route in self.routes if path.startswith(route)), key=len, default="")
        return owner == self.route

    def label(self, name: str) -> str:
        """A name that is unique among places."""
        return f"{name} @ {self.name}" if self.name else name


def parse_places(
    base_url: str | None, connect_to: str | None, ca_file: str | None, targets: Any
) -> list[Place]:
    """The one place, or one for each target (`{name, address, port}`); raises SpecError."""
    if base_url:
        parse_url(base_url)
    if connect_to:
        parse_address(connect_to, parse_url(base_url).port if base_url else None)
    if targets is None:
        return [Place(base_url, connect_to, ca_file)]
    if not targets:
        raise SpecError("targets: an empty list would verify nothing")
    problems: list[str] = []
    places: list[Place] = []
    routes = tuple(
        sorted({str(one["route"]) for one in targets if isinstance(one, dict) and one.get("route")})
    )
    for index, target in enumerate(targets):
        where = f"targets[{index}]"
        problems += unknown_keys(target, ("name", "address", "port", "route", "health"), where)
        try:
            address = Address(str(target["address"]), int(target["port"]))
            parse_address(str(address))
            own = str(target.get("route") or ""), routes, str(target.get("health") or "")
            places.append(Place(base_url, str(address), ca_file, str(target.get("name") or address), *own))
        except (KeyError, ValueError, SpecError) as error:
            problems.append(f"{where}: needs an address and a port ({error})")
    names = [place.name for place in places]
    problems += [f"targets: two are called {name!r}" for name in sorted(set(names)) if names.count(name) > 1]
    if problems:
        raise SpecError(*problems)
    return places


def at_moment(entries: Any, moment: str, where: str, default: tuple[str, ...] = MOMENTS) -> list[Any]:
    """Entries that apply at a moment, without their `at`; raises SpecError for a moment nobody knows.

    `default` is when entries without `at` apply.
    """
    if not isinstance(entries, list) or not entries:
        raise SpecError(f"{where}: an empty list verifies nothing; declare at least one")
    problems: list[str] = []
    chosen = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or "at" not in entry:
            chosen += [entry] if moment in default else []
            continue
        at = entry["at"] if isinstance(entry["at"], list) else [entry["at"]]
        if not at:
            problems.append(f"{where}[{index}].at: an empty list means never; known: {', '.join(MOMENTS)}")
        for item in at:
            problems += unknown_keys({str(item): 0}, MOMENTS, f"{where}[{index}].at")
        if moment in at:
            chosen.append({key: value for key, value in entry.items() if key != "at"})
    if problems:
        raise SpecError(*problems)
    return chosen


def parse_for_every_moment(
    entries: Any, where: str, parse: Callable[[list[Any]], Any], default: tuple[str, ...] = MOMENTS
) -> None:
    """Find mistakes in entries whatever moment they are for; raises SpecError with each of them once.

    Moment by moment, as they will be used: two entries may share a name if they never meet.
    """
    problems: list[str] = []
    for moment in MOMENTS:
        try:
            wanted = at_moment(entries, moment, where, default)
            if wanted:
                parse(wanted)
        except SpecError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise SpecError(*problems)


def declared(
    params: dict[str, Any],
    where: str,
    moment: str,
    parse: Callable[[list[Any]], list[T]],
    default: tuple[str, ...] = MOMENTS,
) -> list[T]:
    """The entries of the option `where` that apply at a moment, compiled by `parse`; raises SpecError.

    With the option `parse_only` mistakes in the others are found as well. `default` is when entries without `at` apply.
    """
    if params["parse_only"]:
        parse_for_every_moment(params[where], where, parse, default)
    return parse(at_moment(params[where], moment, where, default))


def spread_checks(entries: list[Any], places: list[Place]) -> list[Any]:
    """Checks that name a path, once for each place that serves it; all others as they are.

    A place that serves none of the paths is asked for the health of its service.
    """
    spread: list[Any] = []
    asked: set[Place] = set()
    for entry in entries:
        relative = _relative(entry)
        if relative is None:
            spread.append(entry)
            continue
        kind, given = relative
        for place in places:
            if kind == "http" and not place.serves(str(given["path"])):
                continue
            if place.base_url is None:
                raise SpecError(f"{entry.get('name')}: {show(given)} needs a base URL")
            settled = _http(given, place) if kind == "http" else _tls(given, place)
            spread.append({**entry, "name": place.label(str(entry.get("name") or "")), kind: settled})
            if kind == "http":
                asked.add(place)
    if entries:
        spread += [
            {"name": place.label("health"), "http": _http({"path": place.health}, place)}
            for place in places
            if place.health and len(place.routes) > 1 and place not in asked
        ]
    return spread


def paths_of(declared: Any) -> set[str]:
    """Return the paths that a declared flow or load asks for."""
    if isinstance(declared, list):
        return {path for item in declared for path in paths_of(item)}
    if not isinstance(declared, dict):
        return set()
    found = {
        value for key, value in declared.items() if key in (*_METHODS, "path") and isinstance(value, str)
    }
    routes = declared.get("routes")
    found |= {one for one in routes if isinstance(one, str)} if isinstance(routes, list) else set()
    return found | {path for value in declared.values() for path in paths_of(value)}


def serving(places: list[Place], declared: Any) -> list[Place]:
    """Return the places that serve every path of a flow or load: one that crosses services is for the public address."""
    wanted = paths_of(declared)
    return [place for place in places if all(place.serves(path) for path in wanted)]


def _relative(entry: Any) -> tuple[str, dict[str, Any]] | None:
    """Kind and parameters of a check that depends on the place."""
    if not isinstance(entry, dict):
        return None
    http = entry.get("http")
    if isinstance(http, str) and http.startswith("/"):
        return "http", {"path": http}
    if isinstance(http, dict) and "path" in http:
        return "http", http
    tls = entry.get("tls")
    if isinstance(tls, dict) and "address" not in tls:
        return "tls", tls
    return None


def _http(given: dict[str, Any], place: Place) -> dict[str, Any]:
    rest = {key: value for key, value in given.items() if key != "path"}
    defaults = {"connect_to": place.connect_to, "ca_file": place.ca_file}
    url = str(place.base_url).rstrip("/") + str(given["path"])
    return {**{key: value for key, value in defaults.items() if value}, **rest, "url": url}


def _tls(given: dict[str, Any], place: Place) -> dict[str, Any]:
    url = parse_url(str(place.base_url))
    defaults: dict[str, Any] = {
        "address": place.connect_to or str(Address(url.host, url.port)),
        "server_name": url.host,
    }
    if place.ca_file:
        defaults["ca_file"] = place.ca_file
    return {**defaults, **given}
