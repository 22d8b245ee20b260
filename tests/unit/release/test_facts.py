"""The plan of a deploy: what its builds and images are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.release import facts as facts_of
from ansible.module_utils.slipway.release.plan import PlanError

FILE = """
services:
  web:
    build: {context: "${DIR:-.}", args: {PY: "${PY:-3.12}", URL: "$API_URL", REVISION: "$REVISION", DEBUG: false}}
  cache: {image: "redis:${REDIS:-8}"}
"""


def planned(root: Path, text: str, contract: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the facts of a deploy with a Compose file."""
    (root / "compose.yaml").write_text(text)
    variables = {
        "app_name": "shop",
        "app_domain": "shop.example.test",
        "app_services": {"web": {"kind": "job"}, "cache": {"kind": "job"}},
        "environment_values": {"PY": "3.13", "API_URL": "https://a", "REDIS": "7", "TOKEN": "hunter2"},
        "environment_contract": contract or {},
    }
    source = {"dir": str(root), "compose": ["compose.yaml"], "revision": "0123456789abcdef", "version": "v1"}
    arguments = {"variables": variables, "source": source, "edge_settings": {}}
    facts, _ = facts_of.of_deploy(arguments, [], {"groups": {"all": []}, "hostvars": {}})
    return dict(facts)


def test_builds_and_images_see_the_environment(tmp_path: Path) -> None:
    facts = planned(tmp_path, FILE)
    args = {"PY": "3.13", "URL": "https://a", "REVISION": "0123456789ab", "DEBUG": "false"}
    assert facts["builds"] == [
        {"service": "web", "tag": "shop-web:0123456789ab", "context": ".", "args": args}
    ]
    assert facts["references"] == {"cache": "redis:7"}


def test_a_secret_does_not_reach_a_build(tmp_path: Path) -> None:
    text = FILE.replace("$API_URL", "$TOKEN")
    with pytest.raises(PlanError, match=r"compose.yaml:4: services.web.build.args.URL: uses \$\{TOKEN\}"):
        planned(tmp_path, text)
    assert planned(tmp_path, text, {"TOKEN": {"secret": False}})["builds"][0]["args"]["URL"] == "hunter2"
