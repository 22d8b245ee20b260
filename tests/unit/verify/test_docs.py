"""What docs/verification.md, the role's README and the modules' examples declare is sound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import health_check
import jinja2
import load_probe
import pytest
import smoke_flow
import yaml
from ansible.module_utils.slipway.masking.redactor import Redactor
from ansible.module_utils.slipway.verify.checks.kinds import KINDS
from ansible.module_utils.slipway.verify.checks.run import parse_checks
from ansible.module_utils.slipway.verify.flows.run import parse_flows
from ansible.module_utils.slipway.verify.loads.run import parse_loads
from ansible.module_utils.slipway.verify.moments import MOMENTS, at_moment, parse_places, spread_checks
from ansible.module_utils.slipway.verify.predicates import SpecError

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "docs/verification.md", ROOT / "roles/verify/README.md"]


def blocks() -> list[Any]:
    """YAML in the pages and examples; what Ansible would fill in is a word."""
    texts = [text for page in PAGES for text in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]
    texts += [module.EXAMPLES for module in (health_check, smoke_flow, load_probe)]
    return [yaml.safe_load(re.sub(r"\{\{.*?\}\}", "Zm9vYmFyYmF6", text)) for text in texts]


def compile_all(declared: dict[str, Any]) -> int:
    """Compile what a block declares, at every moment; returns how much that was."""
    count = 0
    for targets in (None, [{"name": "web-1", "address": "10.0.0.1", "port": 8101}]):
        places = parse_places("https://shop.test", None, None, targets)
        for moment in MOMENTS:
            for checks in declared.get("checks", []):
                wanted = spread_checks(at_moment(checks, moment, "checks"), places)
                count += len(parse_checks(wanted)) if wanted else 0
            for flows in declared.get("flows", []):
                count += len(parse_flows(at_moment(flows, moment, "flows"), places, Redactor()))
            for loads in declared.get("loads", []):
                count += len(parse_loads(at_moment(loads, moment, "loads"), places))
    return count


def find(data: Any, found: dict[str, Any]) -> dict[str, Any]:
    """Collect declarations wherever they stand: variables of the role, arguments of modules, bare steps."""
    if isinstance(data, dict):
        for key, value in data.items():
            name = {"verify_checks": "checks", "verify_flows": "flows", "verify_load": "loads"}.get(key, key)
            if name in ("checks", "flows", "loads") and isinstance(value, list):
                found.setdefault(name, []).append(value)
            else:
                find(value, found)
    elif isinstance(data, list):
        for item in data:
            find(item, found)
    return found


@pytest.mark.parametrize("number", range(len(blocks())))
def test_sound(number: int) -> None:
    block = blocks()[number]
    if isinstance(block, list) and not find(block, {}):
        token = {"get": "/token", "save": {"token": "token"}}
        block = {"flows": [{"flow": "steps of the page", "steps": [token, *block]}]}
    if isinstance(block, dict) and {"name", "report_dir"} & set(block):
        return
    assert compile_all(find(block, {})) > 0


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("inventories/*/group_vars/all/checks.yml")), ids=lambda page: page.parts[-4]
)
def test_what_inventories_declare_is_sound(page: Path) -> None:
    text = re.sub(r"\{\{.*?\}\}", "Zm9vYmFyYmF6", page.read_text())
    assert compile_all(find(yaml.safe_load(text), {})) > 0


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_table_of_kinds_has_all_that_a_kind_takes_and_can_expect(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \| (.*) \| (.*) \|$", PAGES[0].read_text(), re.MULTILINE)
    takes, expects = (set(re.findall(r"`(\w+)`", cell)) for cell in row)
    # A path is what becomes of a url once it is known where the moment leads.
    assert takes - {"path"} == set(KINDS[name].options) - {"path"}
    assert set(KINDS[name].expectations) <= expects
    assert set(KINDS[name].defaults) <= {key for key in expects if re.search(rf"`{key}` \([^)]", row[1])}


def test_an_unsound_page_would_be_noticed() -> None:
    with pytest.raises(SpecError):
        compile_all({"checks": [[{"name": "x", "http": "/", "expects": 1}]]})


@pytest.mark.parametrize("declared", ["verify_checks", "verify_flows", "verify_load"])
def test_whatever_is_declared_is_read_in_preflight(declared: str) -> None:
    tasks = yaml.safe_load((ROOT / "roles/declaration/tasks/main.yml").read_text())
    (reading,) = [task for task in tasks if task.get("vars", {}).get("verify_base_url")]
    condition = jinja2.Environment(autoescape=True).compile_expression(
        reading["when"], undefined_to_none=False
    )
    assert condition(**{declared: []}) and not condition()
