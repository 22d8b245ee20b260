"""What is in a release: the types, and the page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.slipway.model.release import HostPlan, Release

ROOT = Path(__file__).resolve().parents[3]


def test_ansible_doc_names_every_key_of_a_release_and_of_what_a_host_does() -> None:
    text = (ROOT / "library/release_plan.py").read_text().partition('RETURN = r"""')[2].partition('"""')[0]
    documented: dict[str, Any] = yaml.safe_load(text)["release"]["contains"]
    assert list(documented) == list(Release.__annotations__)
    assert list(documented["hosts"]["contains"]) == list(HostPlan.__annotations__)
    assert all(one["description"] and one["type"] for one in documented.values())
