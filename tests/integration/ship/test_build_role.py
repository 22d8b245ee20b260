"""The role as a playbook uses it: built once on the controller, shipped to a host, and nothing again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Ansible, Host, sh

sys.path.insert(0, str(ROOT / "plugins" / "action"))

DOCKERFILE = """\
FROM slipway/debian:13 AS web
LABEL slipway.test=1
ARG GREETING
RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \\
    head -1 /etc/ssl/certs/ca-certificates.crt > /seen; echo "$GREETING $http_proxy" > /greeting
COPY app /app
FROM web AS worker
CMD ["worker"]
"""


TAG = "shiptest/{}:{{{{ hostvars.localhost.exported.short }}}}"


def git(repo: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    return sh("git", "-C", str(repo), *identity, *arguments)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository of an application with a web service and a worker."""
    path = tmp_path / "source"
    path.mkdir()
    (path / "Dockerfile").write_text(DOCKERFILE)
    (path / "app").write_text("one")
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", ".")
    git(path, "commit", "--quiet", "-m", "Begin")
    return path


@pytest.fixture
def variables(source: Path, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The variables of a system that builds two images and refers to a third."""
    ca = tmp_path / "ca.pem"
    ca.write_text("THE COMPANY'S CA\n")
    sh("docker", "tag", "slipway/redis:8", "ship-redis:8")
    yield {
        "app_name": "shiptest",
        "repo": str(source),
        "build_builds": [
            {"service": name, "target": name, "tag": TAG.format(name), "args": {"GREETING": "hello"}}
            for name in ("web", "worker")
        ],
        "build_references": {"cache": "ship-redis:8"},
        "build_unpinned": ["cache"],
        "build_owners": {"web": "web", "worker": "worker", "cron": "worker", "cache": "cache"},
        "build_ca_file": str(ca),
        "build_proxy": {"http_proxy": "http://me:hunter2@127.0.0.1:1"},
        "build_cache_dir": str(tmp_path / "cache"),
        "build_ship_services": ["web", "worker"],
    }
    sh("docker", "image", "rm", "ship-redis:8", check=False)


def play(ansible: Ansible, variables: dict[str, Any], *options: str) -> dict[str, Any]:
    """Run the role as playbooks do, and return the JSON of the run with everything printed."""
    book = ansible.directory / "role.yml"
    export = {
        "source_export": {"repo": "{{ repo }}", "version": "main", "dest": "{{ build_cache_dir }}/source"},
        "register": "exported",
        "when": "repo != ''",
    }
    build = {
        "ansible.builtin.include_role": {"name": "build"},
        "vars": {
            "build_directory": "{{ exported.path | default('') }}",
            "build_revision": "{{ exported.revision | default('') }}",
        },
    }
    show = {"ansible.builtin.debug": {"msg": "{{ [build_images, exported] }}"}}
    ship = {
        "ansible.builtin.include_role": {"name": "build", "tasks_from": "ship"},
        "vars": {"build_images": "{{ hostvars.localhost.build_images }}"},
    }
    local = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [export, build, show],
    }
    plays = [local, {"hosts": "all", "gather_facts": False, "tasks": [ship]}]
    process = ansible.start([], "all", *options, "-e", json.dumps(variables), book=(book, plays))
    out, err = process.communicate(timeout=100)
    result: dict[str, Any] = json.loads(out[out.index("{\n") :])
    return {**result, "output": out + err}


def test_build_ship_nothing_to_do_and_a_new_revision(
    ansible: Ansible, host: Host, source: Path, variables: dict[str, Any]
) -> None:
    plan = play(ansible, variables, "--check")
    assert plan["stats"][host.name]["failures"] == 0 and plan["stats"]["localhost"]["failures"] == 0
    commit = git(source, "rev-parse", "main")
    tag = f"shiptest/web:{commit[:12]}"
    assert subprocess.run(["docker", "image", "inspect", tag], capture_output=True).returncode != 0

    first = play(ansible, variables, "-vvv")
    images, revision = first["plays"][0]["tasks"][-1]["hosts"]["localhost"]["msg"]
    assert revision["revision"] == commit and revision["subject"] == "Begin"
    web = images["web"]["reference"]
    assert web == f"{tag}-{images['web']['id'][7:19]}" and images["cache"]["reference"] == "ship-redis:8"
    assert images["cron"]["reference"] == images["worker"]["reference"] != web
    assert host.image_id(web) == images["web"]["id"]
    assert host.image_id("ship-redis:8") == ""
    assert "hunter2" not in first["output"]
    seen = sh("docker", "run", "--rm", tag, "cat", "/seen", "/greeting")
    assert seen.splitlines()[0] == "THE COMPANY'S CA"
    assert "hello http://me:hunter2@127.0.0.1:1" in seen
    # The bundle was there for that step alone.
    assert "COMPANY" not in sh(
        "docker", "run", "--rm", tag, "head", "-1", "/etc/ssl/certs/ca-certificates.crt"
    )
    assert "hunter2" not in sh("docker", "image", "history", "--no-trunc", tag)

    second = play(ansible, variables)
    assert [second["stats"][name]["changed"] for name in ("localhost", host.name)] == [0, 0]

    (source / "app").write_text("two")
    git(source, "commit", "--quiet", "-am", "Say two")
    (source / "app").write_text("three, not committed")
    third = play(ansible, variables)
    images, revision = third["plays"][0]["tasks"][-1]["hosts"]["localhost"]["msg"]
    assert revision["dirty"] and revision["subject"] == "Say two"
    assert sh("docker", "run", "--rm", images["web"]["reference"], "cat", "/app") == "two"
    # One layer for the two images that share it.
    assert third["plays"][1]["tasks"][-1]["hosts"][host.name]["layers_sent"] == 1


def test_built_anew_an_image_leaves_the_one_that_is_live_its_name(
    ansible: Ansible, host: Host, source: Path, variables: dict[str, Any]
) -> None:
    (source / "Dockerfile").write_text("FROM slipway/debian:13\nARG COLOUR\nRUN echo $COLOUR > /colour\n")
    git(source, "commit", "--quiet", "-am", "Paint")
    built = {"service": "web", "tag": TAG.format("web")}
    references = []
    for colour in ("red", "blue"):
        variables["build_builds"] = [{**built, "args": {"COLOUR": colour}}]
        variables.update(build_references={}, build_owners={"web": "web"}, build_ship_services=["web"])
        done = play(ansible, variables)
        references.append(done["plays"][0]["tasks"][-1]["hosts"]["localhost"]["msg"][0]["web"]["reference"])
    red, blue = references
    assert red != blue
    assert host.run(f"docker run --rm --network none {red} cat /colour").strip() == "red"
    assert host.run(f"docker run --rm --network none {blue} cat /colour").strip() == "blue"


def test_a_build_that_fails_shows_why_and_how_to_repeat_it(
    ansible: Ansible, host: Host, source: Path, variables: dict[str, Any]
) -> None:
    (source / "Dockerfile").write_text("FROM slipway/debian:13\nRUN echo looking; cat /no/such/file\n")
    git(source, "commit", "--quiet", "-am", "Break")
    variables["build_builds"] = [{"service": "web", "tag": TAG.format("web")}]
    failed = play(ansible, variables)["plays"][0]["tasks"][-1]["hosts"]["localhost"]
    assert failed["failed"]
    assert "the image of service web could not be built" in failed["msg"]
    assert "cat: /no/such/file: No such file or directory" in failed["msg"]
    command = failed["msg"].rsplit("To repeat it on the controller: ", 1)[1]
    again = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert again.returncode != 0 and "/no/such/file" in again.stderr


def test_an_image_that_cannot_be_had(ansible: Ansible, host: Host, variables: dict[str, Any]) -> None:
    references = {"db": "ship-none.invalid/db:1"}
    variables.update(repo="", build_builds=[], build_references=references, build_owners={"db": "db"})
    failed = play(ansible, variables)["plays"][0]["tasks"][-1]["hosts"]["localhost"]
    assert "ship-none.invalid/db:1 is not on the controller and cannot be pulled" in failed["msg"]


def test_progress_names_the_step() -> None:
    from image_build import last_step

    assert last_step("") is None
    log = "#4 [web 1/3] FROM docker.io/x\n#4 DONE 0.0s\n#5 [web 2/3] RUN pip install .\n#5 0.3 Collecting\n"
    assert last_step(log) == "[web 2/3] RUN pip install ."
