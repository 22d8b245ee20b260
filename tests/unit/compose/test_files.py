"""The application's Compose files: what they say, what travels with them, what is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.compose.files import (
    Compose,
    as_mapping,
    load,
    minimal,
    mounts,
    needed_files,
    service_networks,
    with_texts,
)
from ansible.module_utils.slipway.compose.images import build_plan, images
from ansible.module_utils.slipway.model.system import System


def written(root: Path, **files: str) -> Compose:
    """Write files (`a__b` for a/b.yaml) and load compose.yaml."""
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load(root, ["compose.yaml"])


def system(**services: dict[str, Any]) -> System:
    """A system with these services."""
    return System.of({"app_name": "shop", "app_services": services}, {}, {})


JOB = {"kind": "job"}


def test_files_are_merged_and_extended(tmp_path: Path) -> None:
    compose = written(
        tmp_path,
        compose="include: [more.yaml]\nservices:\n"
        "  web: {extends: {file: base.yaml, service: b}, ports: [1]}\n  x: {image: x}\n",
        base="services: {b: {extends: c, image: i, ports: [2]}, c: {image: c, restart: always}}\n",
        more="services: {mail: {image: m}}\n",
    )
    assert compose.problems == []
    assert compose.complete
    assert compose.services["web"]["image"] == "i"
    assert compose.services["web"]["ports"] == [2, 1]
    assert compose.services["web"]["restart"] == "always"
    assert set(compose.services) == {"web", "x", "mail"}
    (tmp_path / "prod.yaml").write_text("services: {x: !reset null, web: {ports: !override [3], image: j}}\n")
    both = load(tmp_path, ["compose.yaml", "prod.yaml"])
    assert both.services["web"]["ports"] == [3]
    assert set(both.services) == {"web", "mail"}
    assert both.locate("services", "web", "image") == ("prod.yaml", 1)
    assert both.locate("services", "web", "extends") == ("compose.yaml", 3)


def test_a_service_that_extends_itself_does_not_hang(tmp_path: Path) -> None:
    compose = written(tmp_path, compose="services: {a: {extends: b, image: i}, b: {extends: a}}\n")
    assert compose.services["a"]["image"] == "i"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: [1\nb: 2\n", 2, "is not YAML"),
        ("- a\n", 1, "is not a Compose file"),
        ("", 1, "is not a Compose file"),
    ],
)
def test_unreadable_files_are_problems(tmp_path: Path, text: str, line: int, said: str) -> None:
    compose = written(tmp_path, compose=text)
    assert [(one.file, one.line) for one in compose.problems] == [("compose.yaml", line)]
    assert said in compose.problems[0].problem
    assert not compose.complete


def test_missing_files_and_keys_that_stand_twice(tmp_path: Path) -> None:
    assert "No such file" in load(tmp_path, ["compose.yaml"]).problems[0].problem
    twice = written(tmp_path, compose="services:\n  a: {image: x}\n  a: {image: y}\n")
    assert [(one.line, one.key) for one in twice.problems] == [(3, "services.a")]
    assert twice.complete


def test_mounts(tmp_path: Path) -> None:
    compose = written(
        tmp_path,
        compose="""
services:
  web:
    volumes:
      - named:/a
      - ./rel:/b:ro
      - /abs:/c
      - ~/home:/d
      - /anonymous
      - ${DIR:-./x}:/e:z,ro
      - {type: bind, source: conf, target: /f, read_only: true}
      - {type: volume, target: /g}
      - ${NAME:-}:/h
      - ./a$$b:/i
""",
    )
    assert mounts(compose.services["web"]) == [
        ("volume", "named", False),
        ("bind", "./rel", True),
        ("bind", "/abs", False),
        ("bind", "~/home", False),
        ("volume", "", False),
        ("bind", "./x", True),
        ("bind", "conf", True),
        ("volume", "", False),
        ("volume", "", False),
        ("bind", "./a$b", False),
    ]
    assert ("volume", "data", False) in mounts(with_texts(compose, {"NAME": "data"}).services["web"])


def test_networks_and_mappings() -> None:
    assert service_networks({}) == {"default": {}}
    assert service_networks({"networks": ["a"]}) == {"a": {}}
    assert service_networks({"networks": {"a": None, "b": {"aliases": ["x"]}}}) == {
        "a": {},
        "b": {"aliases": ["x"]},
    }
    assert service_networks({"network_mode": "host"}) == {}
    assert as_mapping(["A=1", "B", "C="]) == {"A": "1", "B": None, "C": ""}


def test_files_that_travel(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "compose.yaml").write_text(
        """
include: [../more.yaml]
services:
  web:
    image: x
    extends: {file: base.yaml, service: b}
    env_file: [.env, extra.env, {path: optional.env, required: false}, {path: there.env, required: false}]
    volumes: ["./conf:/conf:ro", "../outside:/o", "named:/n", "/abs:/a", "${DIR}:/d"]
  ignored: {image: x, volumes: ["./not:/n"]}
secrets: {key: {file: ./key.pem}}
configs: {site: {file: site.conf}, inline: {content: x}}
"""
    )
    (tmp_path / "more.yaml").write_text("services: {}\n")
    (tmp_path / "deploy" / "base.yaml").write_text("services: {b: {image: y}}\n")
    (tmp_path / "deploy" / "conf").mkdir()
    (tmp_path / "deploy" / "there.env").touch()
    compose = load(tmp_path, ["deploy/compose.yaml"])
    found = {
        entry["path"]: (entry["why"], entry["exists"]) for entry in needed_files(compose, system(web=JOB))
    }
    assert found == {
        "deploy/compose.yaml": ("Compose file", True),
        "more.yaml": ("include", True),
        "deploy/conf": ("bind mount", True),
        "outside": ("bind mount", False),
        "deploy/extra.env": ("env_file", False),
        "deploy/there.env": ("env_file", True),
        "deploy/site.conf": ("config", False),
        "deploy/key.pem": ("secret", False),
        "deploy/base.yaml": ("extends", True),
    }


def test_files_whose_path_has_a_variable_travel(tmp_path: Path) -> None:
    text = """
services:
  web:
    image: x
    env_file: ["${WHICH:-prod}.env"]
    volumes: ["${CONF_DIR:-./conf}:/etc/app:ro", {type: bind, source: "./$WHICH/x", target: /x}]
secrets: {key: {file: "${WHICH:-prod}.pem"}}
"""

    def paths(texts: dict[str, str]) -> set[str]:
        compose = with_texts(written(tmp_path, compose=text), texts)
        return {entry["path"] for entry in needed_files(compose, system(web=JOB))} - {"compose.yaml"}

    assert paths({"WHICH": "test"}) == {"conf", "test/x", "test.env", "test.pem"}
    assert paths({"CONF_DIR": "/etc/x", "WHICH": "a"}) == {"a/x", "a.env", "a.pem"}
    assert paths({}) == {"conf", "x", "prod.env", "prod.pem"}


def test_short_and_long_forms_merge(tmp_path: Path) -> None:
    (tmp_path / "prod.yaml").write_text("""
services:
  web:
    build: {target: production, args: {B: 2, C: }}
    env_file: b.env
    networks: {b: {}}
    depends_on: {cache: {condition: service_healthy}}
    volumes: [{type: bind, source: ./z, target: /x}]
    command: [c]
  api: {build: other, depends_on: [db], networks: !override [b], env_file: !reset null}
""")
    (tmp_path / "compose.yaml").write_text("""
services:
  web:
    build: ./web
    env_file: a.env
    networks: [a]
    depends_on: [db]
    volumes: ["./x:/x", "./y:/y"]
    command: [a, b]
  api:
    build: {context: ., args: [A=1, C=3]}
    depends_on: {db: {condition: service_healthy}}
    networks: [a]
    env_file: a.env
""")
    services = load(tmp_path, ["compose.yaml", "prod.yaml"]).services
    web, api = services["web"], services["api"]
    assert web["build"] == {"context": "./web", "target": "production", "args": {"B": 2, "C": None}}
    assert web["env_file"] == [{"path": "a.env"}, {"path": "b.env"}]
    assert service_networks(web) == {"a": {}, "b": {}}
    assert web["depends_on"] == {
        "db": {"condition": "service_started"},
        "cache": {"condition": "service_healthy"},
    }
    assert {source for _, source, _ in mounts(web)} == {"./z", "./y"}
    assert web["command"] == ["c"]
    assert api["build"] == {"context": "other", "args": {"A": "1", "C": "3"}}
    assert api["depends_on"] == {"db": {"condition": "service_started"}}
    assert service_networks(api) == {"b": {}}
    assert "env_file" not in api


def test_paths_count_from_where_compose_counts_them(tmp_path: Path) -> None:
    """An included or extended file has its own directory, a second file named by -f has that of the first."""
    written(
        tmp_path,
        compose="include: [sub/inc.yaml]\nservices: {web: {extends: {file: sub/base.yaml, service: b}}}\n",
        sub__inc="include: [{path: deep/inc.yaml, project_directory: ..}]\n"
        "services: {inc: {build: ./ctx, env_file: x.env, volumes: ['${C:-./conf}:/c', 'vol:/v']}}\n"
        "secrets: {s: {file: s.txt}}\n",
        sub__deep__inc="services: {deep: {build: {context: d}}}\n",
        sub__base="services: {b: {extends: {file: deep/base.yaml, service: c}, volumes: ['./b:/b']}}\n",
        sub__deep__base="services: {c: {build: ., volumes: ['./c:/c']}}\n",
        other__prod="services: {deep: {volumes: ['./p:/p']}}\n",
    )
    compose = load(tmp_path, ["compose.yaml", "other/prod.yaml"])
    assert compose.problems == []
    services = compose.services
    assert {name: one["build"]["context"] for name, one in services.items()} == {
        "web": "sub/deep",
        "inc": "sub/ctx",
        "deep": "d",
    }
    assert {source for _, source, _ in mounts(services["web"])} == {"sub/b", "sub/deep/c"}
    assert {source for _, source, _ in mounts(services["inc"])} == {"sub/conf", "vol"}
    assert mounts(services["deep"]) == [("bind", "./p", False)]
    assert compose.section("secrets")["s"]["file"] == "sub/s.txt"
    names = {entry["path"] for entry in needed_files(compose, system(web=JOB))}
    assert names == {
        *("compose.yaml", "other/prod.yaml", "sub/inc.yaml", "sub/deep/inc.yaml"),
        *("sub/base.yaml", "sub/deep/base.yaml", "sub/b", "sub/deep/c", "sub/s.txt"),
    }


@pytest.mark.parametrize(
    ("include", "said"),
    [
        ("https://example.test/x.yaml", "includes https://example.test/x.yaml, which is not in the source"),
        ("{path: sub/inc.yaml, env_file: x.env}", "has an env_file"),
        ("sub/inc.yaml", "starts with a variable, so that slipway cannot tell whether it counts from sub"),
    ],
)
def test_what_an_include_cannot_say_is_a_problem(tmp_path: Path, include: str, said: str) -> None:
    compose = written(
        tmp_path,
        compose=f"include: [{include}]\nservices: {{}}\n",
        sub__inc="services: {a: {build: '${HERE}/x'}}\n",
    )
    found = [one.text() for one in compose.problems]
    assert sum(said in one for one in found) == 1
    assert with_texts(compose, {"HERE": "."}).problems == compose.problems


def test_files_that_only_another_environment_names(tmp_path: Path) -> None:
    """What a default names need not be there where the environment names another."""
    text = "services: {web: {extends: {file: '${BASE:-nowhere}.yaml', service: b}}}\n"
    compose = written(tmp_path, compose=text, base="services: {b: {image: i}}\n")
    assert not compose.complete
    compose = with_texts(compose, {"BASE": "base"})
    assert compose.complete and compose.problems == []
    assert compose.services["web"] == {"image": "i"}


def test_what_compose_refuses_does_not_stop_the_reading(tmp_path: Path) -> None:
    text = "services: {web: {extends: [[x]], build: true, volumes: 1, networks: 2, env_file: {}, depends_on: x}}\n"
    assert set(written(tmp_path, compose=text).services) == {"web"}


def test_a_whole_service_that_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "prod.yaml").write_text(
        "services: {web: !override {networks: [b], command: [c], build: .}}\n"
    )
    written(tmp_path, compose="services: {web: {image: i, networks: [a]}}\n")
    assert load(tmp_path, ["compose.yaml", "prod.yaml"]).services["web"] == {
        "networks": {"b": {}},
        "command": ["c"],
        "build": {"context": "."},
    }


def test_a_file_that_includes_itself_does_not_hang(tmp_path: Path) -> None:
    compose = written(tmp_path, compose="include: [compose.yaml, b.yaml]\n", b="include: [b.yaml]\n")
    assert [document.file for document in compose.included] == ["b.yaml"]


def test_build_plan(tmp_path: Path) -> None:
    compose = written(
        tmp_path,
        compose="""
services:
  web: {build: {context: ., args: [A=1]}, image: team/shop}
  worker: {build: {context: ./, args: {A: "1"}}, command: work}
  migrate: {image: team/shop}
  admin: {build: admin}
  replaced: {build: .}
  remote: {build: "https://example.test/x.git"}
  unused: {build: nowhere}
  db: {image: "postgres:17"}
""",
    )
    names = ("web", "worker", "migrate", "admin", "remote", "db")
    declared = system(**dict.fromkeys(names, JOB), replaced={"kind": "job", "image": "other:1"})
    plan = build_plan(compose, declared, "0123456789abcdef", {"B": 2})
    assert [(entry["service"], entry["image"], entry["services"]) for entry in plan] == [
        ("web", "shop-web:0123456789ab", ["web", "worker", "migrate"]),
        ("admin", "shop-admin:0123456789ab", ["admin"]),
        ("remote", "shop-remote:0123456789ab", ["remote"]),
    ]
    assert plan[0]["build"] == {"context": ".", "args": {"A": "1", "B": "2"}}
    assert plan[1]["build"]["context"] == "admin"
    assert plan[2]["build"]["context"] == "https://example.test/x.git"
    assert images(compose, declared, plan) == {
        "web": "shop-web:0123456789ab",
        "worker": "shop-web:0123456789ab",
        "migrate": "shop-web:0123456789ab",
        "admin": "shop-admin:0123456789ab",
        "remote": "shop-remote:0123456789ab",
        "db": "postgres:17",
        "replaced": "other:1",
    }


def test_builds_and_images_are_filled_in(tmp_path: Path) -> None:
    compose = written(
        tmp_path,
        compose="""
services:
  web:
    image: ${REPO:-team}/shop
    build:
      context: ${DIR:-app}
      dockerfile: Dockerfile.${KIND:-web}
      target: $KIND
      args: {PY: "${PY:-3.12}", URL: "$API_URL", ON: true, RATE: 1.0, API_URL: , NOPE: , PRICE: "$$5"}
  listed: {build: {context: ., args: [API_URL, NOPE, PY=2]}}
  worker: {image: team/shop}
  ready: {image: "ghcr.io/acme/web:${TAG:-1.0}"}
  db: {image: "postgres:${PG:-17}"}
""",
    )
    declared = system(**dict.fromkeys(("web", "listed", "worker", "ready", "db"), JOB))
    values = {"PY": "3.13", "API_URL": "https://a", "KIND": "prod", "PG": "18"}
    plan = build_plan(compose, declared, "0123456789abcdef", {}, values)
    assert [(entry["services"], entry["build"]) for entry in plan] == [
        (
            ["web", "worker"],
            {
                "context": "app",
                "dockerfile": "Dockerfile.prod",
                "target": "prod",
                "args": {
                    "PY": "3.13",
                    "URL": "https://a",
                    "ON": "true",
                    "RATE": "1",
                    "API_URL": "https://a",
                    "PRICE": "$5",
                },
            },
        ),
        (["listed"], {"context": ".", "args": {"API_URL": "https://a", "PY": "2"}}),
    ]
    found = images(compose, declared, plan, values)
    assert (found["ready"], found["db"]) == ("ghcr.io/acme/web:1.0", "postgres:18")


def test_the_file_of_a_system_that_has_none() -> None:
    declared = system(
        web={"kind": "web", "port": 80, "image": "x:1"},
        db={"kind": "stateful", "image": "pg:17", "data": "/var/lib/pg", "command": ["run"]},
    )
    data = minimal(declared, environment=True)
    assert data["services"]["web"] == {
        "image": "x:1",
        "security_opt": ["no-new-privileges:true"],
        "env_file": [".env"],
    }
    assert data["services"]["db"]["volumes"] == ["db-data:/var/lib/pg"]
    assert data["services"]["db"]["command"] == ["run"]
    assert data["volumes"] == {"db-data": {}}
    assert "env_file" not in minimal(declared, environment=False)["services"]["web"]
