"""Which of the ports that a system wants are somebody else's."""

from __future__ import annotations

import json
from pathlib import Path

from ansible.module_utils.slipway.host.ports import published, reserved, taken

LISTED = """\
shop\tshop-blue-web-1\t10.0.0.1:18000->8000/tcp
\ttraefik\t0.0.0.0:80->80/tcp, [::]:80->80/tcp, 9000/tcp
\told\t127.0.0.1:6379->6379/tcp, [::1]:6379->6379/tcp
crm\tcrm-db-1\t10.0.0.1:5432-5433->5432-5433/tcp
"""


def test_published_ports_of_others() -> None:
    assert published(LISTED, "shop") == {
        80: "container traefik",
        5432: "container crm-db-1",
        5433: "container crm-db-1",
    }


def record(root: Path, system: str, **more: object) -> None:
    directory = root / system / "releases" / "20261121T210000Z-1a2b3c4"
    directory.mkdir(parents=True)
    servers = {"web": {"blue": ["10.0.0.1:18000"], "green": ["10.0.0.1:18100"]}}
    text = json.dumps({"id": directory.name, "servers": servers, "verdict": "live", "live_from": "x", **more})
    (directory / "record.json").write_text(text)


def test_both_colours_of_other_systems_are_reserved(tmp_path: Path) -> None:
    record(tmp_path, "shop")
    record(tmp_path, "crm")
    record(tmp_path, "gone", verdict="abandoned")
    assert reserved(tmp_path, "shop") == {18000: "system crm (web)", 18100: "system crm (web)"}
    assert reserved(tmp_path / "none", "shop") == {}


def test_a_port_is_taken_by_a_program_a_container_or_a_system() -> None:
    listeners = {18000: "docker-proxy", 18001: "docker-proxy", 5432: "postgres"}
    said = taken(
        [18000, 18001, 18100, 5432, 6379], {18001: "container x"}, {18100: "system crm (web)"}, listeners
    )
    assert said == ["5432: postgres", "18001: container x", "18100: system crm (web)"]
