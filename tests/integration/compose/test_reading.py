"""Files are read as Compose reads them: what it makes of several files, forms and directories is what slipway makes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.slipway.compose.files import (
    Compose,
    load,
    mounts,
    service_networks,
)
from ansible.module_utils.slipway.compose.images import build_plan, images
from ansible.module_utils.slipway.model.system import System

TREE = {
    "compose.yaml": """
include: [sub/inc.yaml]
services:
  web:
    build: ./web
    image: w
    env_file: a.env
    networks: [a]
    depends_on: [db]
    volumes: ["./x:/x", "./y:/y/", "${CONF_DIR:-./conf}:/conf:ro", "named:/n"]
    environment: [A=1, B=1]
  api:
    build: {context: ., args: [A=1, C=3]}
    depends_on: {db: {condition: service_healthy}}
    networks: {a: {aliases: [x]}}
    image: w
  db: {extends: {file: sub/base.yaml, service: base}}
  cache: {image: c}
  ready: {image: "redis:${REDIS:-8}"}
networks: {a: , b: }
volumes: {named: }
secrets: {s: {file: "${SECRET_FILE-s.txt}"}}
""",
    "other/prod.yaml": """
services:
  web:
    build: {target: production}
    env_file: [b.env]
    networks: {b: {}}
    depends_on: {cache: {condition: service_healthy}}
    volumes: [{type: bind, source: ./z, target: /x}]
  api:
    build: {args: {A: 9, C: , D: true, E: 1.50, F: 2.0, REDIS: , G: "$REDIS-${NO:-$$}"}}
    depends_on: [db, cache]
    networks: !override [b]
    volumes: ["/srv:/x", "./extra:/e"]
  cache: {extends: {file: more.yaml, service: more}}
""",
    "more.yaml": 'services: {more: {image: m, volumes: ["./m:/m"]}}\n',
    "sub/inc.yaml": """
include: [{path: deep/inc.yaml, project_directory: ..}]
services:
  inc: {image: i, build: ./ctx, env_file: [x.env], volumes: ["./c:/c", "${NOWHERE:-./conf}:/d", "vol:/v"]}
volumes: {vol: }
configs: {c: {file: ./c.txt}}
""",
    "sub/deep/inc.yaml": "services: {deep: {image: i, build: {context: here, args: {A: '1'}}}}\n",
    "sub/base.yaml": """
services:
  base:
    extends: {file: deep/base.yaml, service: deeper}
    build: {context: ./built}
    env_file: [y.env]
    volumes: ["./c:/c", "${NOWHERE:-./conf}:/d"]
""",
    "sub/deep/base.yaml": 'services: {deeper: {image: d, volumes: ["./v:/v"]}}\n',
    **dict.fromkeys(("a.env", "b.env", "sub/x.env", "sub/y.env"), "E=1\n"),
}
FILES = ["compose.yaml", "other/prod.yaml"]
TEXTS = {"CONF_DIR": "./conf.d", "REDIS": "9"}


def written(root: Path) -> None:
    """Write the tree of files."""
    for name, text in TREE.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def composed(root: Path) -> dict[str, Any]:
    """Return what Compose reads."""
    files = [part for name in FILES for part in ("-f", str(root / name))]
    command = ["docker", "compose", "-p", "compose-t", "--project-directory", str(root), *files]
    environment = {"PATH": os.environ["PATH"], "HOME": "/", **TEXTS}
    ran = subprocess.run(
        [*command, "config", "--format", "json"], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


def read(root: Path) -> Compose:
    """Return what slipway reads."""
    compose = load(root, FILES, TEXTS)
    assert compose.problems == []
    return compose


def test_paths_networks_and_dependencies(tmp_path: Path) -> None:
    written(tmp_path)
    theirs, ours = composed(tmp_path), read(tmp_path)
    assert set(theirs["services"]) == set(ours.services)
    for name, service in theirs["services"].items():
        own = ours.services[name]
        binds = {os.path.normpath(tmp_path / source) for kind, source, _ in mounts(own) if kind == "bind"}
        assert binds == {one["source"] for one in service.get("volumes", []) if one["type"] == "bind"}, name
        assert set(service_networks(own)) == set(service.get("networks", {})), name
        conditions = {to: how["condition"] for to, how in service.get("depends_on", {}).items()}
        assert {to: how["condition"] for to, how in own.get("depends_on", {}).items()} == conditions, name
        if "build" in service:
            context = os.path.normpath(tmp_path / own["build"]["context"])
            assert context == service["build"]["context"], name
            assert own["build"].get("target") == service["build"].get("target"), name
    for section, name in (("secrets", "s"), ("configs", "c")):
        if section in theirs:
            file = os.path.normpath(tmp_path / ours.section(section)[name]["file"])
            assert file == theirs[section][name]["file"]


def test_builds_and_images(tmp_path: Path) -> None:
    written(tmp_path)
    theirs, ours = composed(tmp_path), read(tmp_path)
    variables = {"app_name": "compose-t", "app_services": {name: {"kind": "job"} for name in ours.services}}
    system = System.of(variables, {}, {})
    plan = build_plan(ours, system, "r", {}, TEXTS)
    built = {name: one["build"] for one in plan for name in one["services"] if "build" in ours.services[name]}
    assert set(built) == {name for name, service in theirs["services"].items() if "build" in service}
    for name, build in built.items():
        expected = theirs["services"][name]["build"]
        # `config` doubles every dollar, so that what it prints could be read again.
        args = {key: text.replace("$$", "$") for key, text in expected.get("args", {}).items()}
        assert build["args"] == args, name
        assert os.path.normpath(tmp_path / build["context"]) == expected["context"], name
    found = images(ours, system, plan, TEXTS)
    assert found["ready"] == theirs["services"]["ready"]["image"] == "redis:9"
