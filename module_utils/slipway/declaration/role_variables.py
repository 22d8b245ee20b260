# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Variables of the inventory that belong to roles: a name that nearly is one, and values that can't be meant.

Roles validate their variables themselves, but some of them only half-way through a release, and one mistake at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import BOOLEANS, BOOLEANS_TRUE

from ..model.problems import near_miss
from .schema import OWN_PREFIXES, VARIABLES, Fault, Keys

# `database_name` and `edge_tls_mode` may well be somebody's own; `database_logn` and `edge_tsl` are not.
CUTOFF = 0.85
Options = Mapping[str, dict[str, Any]]


def read_options(roles: Path) -> Options:
    """Return the options of all roles below a directory, by name, as their argument specs have them."""
    options: dict[str, dict[str, Any]] = {}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        prefix = f"{path.parents[1].name}_"
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            options.update({k: v for k, v in (entry.get("options") or {}).items() if k.startswith(prefix)})
    return options


def prefixes_of(options: Options) -> tuple[str, ...]:
    """Return how the variables begin that belong to roles, ours without a role of their own (`database_`) included."""
    known = [*options, *(name for name in VARIABLES if not name.startswith(OWN_PREFIXES))]
    return tuple(sorted({f"{name.partition('_')[0]}_" for name in known}))


def faults(
    variables: Mapping[str, Any], options: Options, declared: Callable[[str], bool]
) -> Iterator[Fault]:
    """Yield what is wrong with variables that have the prefix of a role; those of anybody else are not looked at.

    `declared` says whether a name stands in the inventory: facts that roles set are theirs. Values are judged as far as
    they are written out: what is a template may use variables that exist only later.
    """
    known = [*options, *(name for name in VARIABLES if not name.startswith(OWN_PREFIXES))]
    prefixes = prefixes_of(options)
    for name, value in sorted(variables.items()):
        if name in options:
            if not _is_template(value):
                yield from _judged(name, value, options[name])
        elif name not in VARIABLES and name.startswith(prefixes) and declared(name):
            near = near_miss(name, known, CUTOFF)
            if near:
                yield (name,), "is not a variable of slipway", f"did you mean '{near}'?"


def _judged(name: str, value: Any, option: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _texts_for_booleans((name,), value, option)
    told = {key: option[key] for key in ("type", "choices", "elements") if key in option}
    found = ArgumentSpecValidator({name: told}).validate({name: value})
    for message in found.error_messages:
        yield (name,), message, str(option.get("description", ""))


def _texts_for_booleans(path: Keys, value: Any, option: Mapping[str, Any]) -> Iterator[Fault]:
    """`-e x=false` gives the text 'false', which a condition takes for true: refused wherever a boolean is meant."""
    if option.get("type") == "bool" and isinstance(value, str) and value.strip().lower() in BOOLEANS:
        meant = "true" if value.strip().lower() in BOOLEANS_TRUE else "false"
        typed = f"; on the command line -e '{{\"{path[0]}\": {meant}}}'" if len(path) == 1 else ""
        yield path, f"is the text '{value}', and has to be true or false", f"remove the quotes{typed}"
    for key, inner in (option.get("options") or {}).items():
        entries = value if isinstance(value, list) else [value]
        for number, entry in enumerate(entries):
            if isinstance(entry, Mapping) and key in entry:
                place = (*path, number, key) if isinstance(value, list) else (*path, key)
                yield from _texts_for_booleans(place, entry[key], inner)


def _is_template(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_is_template(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_is_template(item) for item in value)
    return isinstance(value, str) and ("{{" in value or "{%" in value)
