"""What ansible-doc shows of the index modules is what they take."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pg_indexes
import pg_indexes_info
import pytest
import yaml

FRAGMENTS = Path(__file__).resolve().parents[3] / "plugins/doc_fragments"


def documented(module: Any) -> dict[str, Any]:
    """Return the options of a module with those of its fragments."""
    documentation = yaml.safe_load(module.DOCUMENTATION)
    options = dict(documentation["options"])
    for name in documentation["extends_documentation_fragment"]:
        spec = importlib.util.spec_from_file_location(name, FRAGMENTS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        fragment = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fragment)
        options |= yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    return options


def compare(options: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert set(options) == set(arguments)
    for name, argument in arguments.items():
        option = options[name]
        for key in ("type", "default", "choices", "aliases", "elements", "required"):
            assert option.get(key) == argument.get(key), (name, key)
        if "options" in argument:
            compare(option["suboptions"], argument["options"])


@pytest.mark.parametrize("module", [pg_indexes, pg_indexes_info])
def test_the_documentation_is_what_the_module_takes(module: Any) -> None:
    compare(documented(module), module.ARGUMENTS)
