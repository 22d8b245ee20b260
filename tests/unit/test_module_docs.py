"""What ansible-doc shows of a module is what the module takes, for every module there is."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ModuleArgumentSpecValidator
from ansible.module_utils.slipway.lean import controller as lean
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "library").glob("*.py"))
TYPES = {"bool", "dict", "float", "int", "list", "path", "raw", "str"}
# What an argument_spec and a documentation say of an option in the same words.
SAID = ("type", "elements", "choices", "default", "required", "aliases")
KNOWN = {*SAID, "description", "suboptions", "no_log"}
# A value that a template of an example may well have.
SAMPLES: dict[str, Any] = {
    "bool": True,
    "dict": {},
    "float": 1.5,
    "int": 1,
    "list": [],
    "path": "/x",
    "raw": "x",
}


def texts(module: str) -> dict[str, str]:
    """Return the documentation strings of a module."""
    text = (ROOT / "library" / f"{module}.py").read_text()
    return dict(
        re.findall(r'^(DOCUMENTATION|EXAMPLES|RETURN) = r"""(.*?)"""$', text, re.MULTILINE | re.DOTALL)
    )


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def documented(module: str) -> dict[str, Any]:
    """Return the documentation of a module, its options with those of its fragments."""
    documentation: dict[str, Any] = yaml.safe_load(texts(module)["DOCUMENTATION"])
    options: dict[str, Any] = {}
    for name in documentation.get("extends_documentation_fragment", []):
        fragment = load(ROOT / "plugins/doc_fragments" / f"{name}.py").ModuleDocFragment
        options |= yaml.safe_load(fragment.DOCUMENTATION)["options"]
    return {**documentation, "options": options | documentation["options"]}


class Found(Exception):
    """Carries the argument_spec that an action plugin validates."""


@cache
def specs_of(module: str) -> list[dict[str, Any]]:
    """Return what a module gives AnsibleModule and what its action plugin validates; nothing where neither does."""
    text = lean.texts(module)[module]
    specs = [lean.argument_spec(module, text)] if "def main(" in text else []
    path = ROOT / "plugins/action" / f"{module}.py"
    if path.exists() and "validate_argument_spec" in path.read_text():

        def validate(_plugin: ActionBase, argument_spec: dict[str, Any], **rules: Any) -> None:
            raise Found({"argument_spec": argument_spec, "supports_check_mode": True, **rules})

        plugin = load(path).ActionModule(*[mock.MagicMock(async_val=0, args={}) for _ in range(6)])
        with mock.patch.object(ActionBase, "validate_argument_spec", validate), pytest.raises(Found) as found:
            plugin.run(task_vars={})
        specs.append(found.value.args[0])
    return specs


def own_options(module: str) -> set[str]:
    """Return the options that the action plugin of a module takes for itself and its module does not know."""
    plugin = ROOT / "plugins/action" / f"{module}.py"
    return set(getattr(load(plugin), "OWN", ())) if plugin.exists() else set()


def read_by_plugin(module: str) -> set[str]:
    """Return the options that an action plugin which validates nothing reads, and what reads the declaration for it."""
    read = [ROOT / "plugins/action" / f"{module}.py", ROOT / "module_utils/slipway/declaration/read.py"]
    text = "".join(path.read_text() for path in read)
    return set(re.findall(r"""\barguments(?:\.get\(|\[)["'](\w+)["']""", text))


def compare(options: dict[str, Any], arguments: dict[str, Any], where: str) -> Iterator[str]:
    """Say what the documentation of options and their argument_spec say differently."""
    for name in sorted(set(options) - set(arguments)):
        yield f"{where}{name} is documented, and is no option"
    for name in sorted(set(arguments) - set(options)):
        yield f"{where}{name} is an option, and not documented"
    for name in sorted(set(arguments) & set(options)):
        option, argument = options[name], arguments[name]
        for key in SAID:
            implied = {"type": "str", "required": False}.get(key)
            said, taken = option.get(key, implied), argument.get(key, implied)
            if said != taken:
                yield f"{where}{name}: {key} is documented as {said!r} and is {taken!r}"
        yield from compare(option.get("suboptions") or {}, argument.get("options") or {}, f"{where}{name}.")


def unsound(options: dict[str, Any], where: str = "") -> Iterator[str]:
    """Say which options are documented in a way that ansible-doc does not know."""
    for name, option in options.items():
        if set(option) - KNOWN or not option.get("description") or option.get("type") not in TYPES:
            yield f"{where}{name}: {sorted(option)}"
        yield from unsound(option.get("suboptions") or {}, f"{where}{name}.")


def as_spec(options: dict[str, Any]) -> dict[str, Any]:
    """Return documented options as an argument_spec."""
    return {
        name: {key: option[key] for key in SAID if key in option}
        | ({"options": as_spec(option["suboptions"])} if option.get("suboptions") else {})
        for name, option in options.items()
    }


def filled(value: Any, option: dict[str, Any]) -> Any:
    """Return an argument of an example with values in the place of templates."""
    suboptions = option.get("suboptions") or {}
    if isinstance(value, str) and "{{" in value:
        return option["choices"][0] if "choices" in option else SAMPLES.get(option.get("type", "str"), "x")
    if isinstance(value, dict):
        return {key: filled(item, suboptions.get(key, {"type": "raw"})) for key, item in value.items()}
    if isinstance(value, list):
        element = {"type": option.get("elements", "raw"), "suboptions": suboptions}
        return [filled(item, element) for item in value]
    return value


@pytest.mark.parametrize("module", MODULES)
def test_the_documentation_is_what_the_module_takes(module: str) -> None:
    documentation = documented(module)
    assert documentation["module"] == module
    assert documentation["short_description"] and documentation["description"]
    options, specs, own = documentation["options"], specs_of(module), own_options(module)
    assert list(unsound(options)) == []
    if not specs:
        assert set(options) == read_by_plugin(module)
    assert own <= set(options)
    for spec in specs:
        known = {name: option for name, option in options.items() if name not in own}
        assert list(compare(known, spec["argument_spec"], "")) == []


@pytest.mark.parametrize("module", MODULES)
def test_attributes_say_what_the_module_can(module: str) -> None:
    attributes = documented(module)["attributes"]
    assert {"check_mode", "diff_mode"} <= set(attributes)
    for attribute in attributes.values():
        assert attribute["support"] in ("full", "partial", "none")
    for spec in specs_of(module):
        can = bool(spec.get("supports_check_mode"))
        assert (attributes["check_mode"]["support"] != "none") is can


@pytest.mark.parametrize("module", MODULES)
def test_examples_are_valid_calls(module: str) -> None:
    options = documented(module)["options"]
    rules = {key: rule for spec in specs_of(module) for key, rule in spec.items() if key in lean._VALIDATION}
    tasks = [task for task in yaml.safe_load(texts(module)["EXAMPLES"]) if module in task]
    assert tasks
    for task in tasks:
        given = filled(task[module], {"suboptions": options})
        found = ModuleArgumentSpecValidator(as_spec(options), **rules).validate(given)
        assert found.error_messages == [], task["name"]


@pytest.mark.parametrize("module", MODULES)
def test_what_is_returned_is_documented(module: str) -> None:
    def check(returned: dict[str, Any], top: bool) -> None:
        for name, value in returned.items():
            assert value.get("description") and value.get("type") in TYPES, name
            assert value.get("returned") or not top, name
            check(value.get("contains") or {}, False)

    returned = yaml.safe_load(texts(module)["RETURN"])
    assert returned
    check(returned, True)


def test_a_difference_would_be_seen() -> None:
    options = {"a": {"type": "str"}, "b": {"type": "dict", "suboptions": {"c": {"default": 1}}}}
    arguments = {"a": {"type": "int"}, "b": {"type": "dict", "options": {"c": {}, "d": {}}}, "e": {}}
    assert list(compare(options, arguments, "")) == [
        "e is an option, and not documented",
        "a: type is documented as 'str' and is 'int'",
        "b.d is an option, and not documented",
        "b.c: default is documented as 1 and is None",
    ]
    assert filled({"b": {"c": ["{{ x }}"]}}, {"suboptions": options}) == {"b": {"c": ["x"]}}


# What changes a host, or looks after something there in the background.
CHANGING = {
    "compose_colours", "compose_stateful", "edge_site", "edge_switch", "image_ship", "migrations", "pg_backup", "pg_indexes",
    "release_files", "release_record", "release_watch",
}  # fmt: skip
# release_bundle hands its files to release_files; the others change the controller, or take the lock itself.
NOT_FENCED = {"fleet_hosts", "image_build", "release_bundle", "release_lock", "source_export"}


def test_every_module_that_changes_a_host_is_handed_the_fence() -> None:
    fenced = {
        module for module in MODULES if any("fence" in spec["argument_spec"] for spec in specs_of(module))
    }
    assert fenced == CHANGING
    for module in CHANGING:
        plugin = (ROOT / "plugins/action" / f"{module}.py").resolve()
        assert plugin.name == "lean_action.py" or "handed(self._task.args" in plugin.read_text(), module


def test_a_module_that_changes_something_is_fenced_or_said_not_to_be() -> None:
    """A new one has to be thought about."""
    looks = {
        "health_check",
        "host_check",
        "load_probe",
        "pg_indexes_info",
        "release_known",
        "release_plan",
        "smoke_flow",
        "system_check",
    }
    assert CHANGING | NOT_FENCED | looks == set(MODULES)
