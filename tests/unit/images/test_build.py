"""Builds: what they depend on, their command line, mistakes, and what is said when one fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.slipway.images.build import (
    Build,
    failure,
    mistakes,
    pinned_tag,
    proxy_environment,
    with_tags,
)
from ansible.module_utils.slipway.images.engine import familiar, fingerprint

BUILD = Build("web", "shop/web:1", args={"A": "1"})


@pytest.mark.parametrize(
    "change", [{"context": "x"}, {"dockerfile": "D"}, {"target": "t"}, {"args": {"A": "2"}}, {"args": {}}]
)
def test_each_input_changes_the_key(change: dict[str, object]) -> None:
    assert replace(BUILD, **change).key("r") != BUILD.key("r")  # type: ignore[arg-type]


def test_the_key_is_of_inputs_alone() -> None:
    assert BUILD.key("r") != BUILD.key("s")
    assert replace(BUILD, service="worker", tag="other").key("r") == BUILD.key("r")


def test_the_command_line() -> None:
    command = BUILD.command(Path("/src"), "rev", "/ca.pem", ["https_proxy"])
    assert command[:4] == ["docker", "build", "--progress=plain", "--pull=false"]
    assert command[-1] == "/src" and "id=ca,src=/ca.pem" in command and "A=1" in command
    assert f"slipway.build={BUILD.key('rev')}" in command


def test_a_proxys_password_is_in_the_environment_only() -> None:
    environment = proxy_environment({"https_proxy": "http://me:hunter2@proxy:3128", "no_proxy": None})
    assert set(environment) == {"https_proxy", "HTTPS_PROXY"}
    assert "hunter2" not in " ".join(BUILD.command(Path("/src"), "rev", None, sorted(environment)))


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    builds = [
        BUILD,
        Build("worker", "shop/web:1"),
        Build("job", "shop/job:1", dockerfile="docker/Job"),
        Build("spy", "shop/spy:1", context="../other"),
    ]
    found = mistakes(builds, tmp_path)
    assert len(found) == 3
    assert "services web and worker are built differently under one tag" in found[0]
    assert "service job: its dockerfile docker/Job is not in the source" in found[1]
    assert "service spy: its context" in found[2] and "outside" in found[2]
    assert mistakes([BUILD, replace(BUILD, service="worker")], tmp_path) == []


def test_a_failure_shows_the_end_and_the_command() -> None:
    log = "\n".join(f"line {n}" for n in range(100))
    message = failure(BUILD, ["docker", "build", "a b"], log, 3.0)
    assert "line 99" in message and "line 70" in message and "line 69" not in message
    assert message.endswith("To repeat it on the controller: docker build 'a b'")
    assert "build_ca_file" in failure(
        BUILD, [], "SSL: CERTIFICATE_VERIFY_FAILED certificate verify failed", 1
    )
    assert "docker-buildx" in failure(
        BUILD, [], "ERROR: BuildKit is enabled but the buildx component is missing", 1
    )


@pytest.mark.parametrize(
    ("reference", "tag"),
    [
        ("postgres@sha256:ab", "postgres:pinned-0123456789ab"),
        ("postgres:17@sha256:ab", "postgres:17-0123456789ab"),
        ("reg.example.com:5000/db@sha256:ab", "reg.example.com:5000/db:pinned-0123456789ab"),
    ],
)
def test_pinned_images_get_a_name_archives_can_carry(reference: str, tag: str) -> None:
    assert pinned_tag(reference, "sha256:0123456789abcdef") == tag


@pytest.mark.parametrize(
    ("reference", "listed"),
    [
        ("docker.io/library/redis:8", "redis:8"),
        ("docker.io/team/app", "team/app:latest"),
        ("reg.example.com:5000/app", "reg.example.com:5000/app:latest"),
        ("redis", "redis:latest"),
    ],
)
def test_references_as_the_engine_lists_them(reference: str, listed: str) -> None:
    assert familiar(reference) == listed


def test_the_fingerprint_ignores_how_an_engine_tells_it() -> None:
    config = {"Cmd": ["x"], "Env": ["A=1"], "User": ""}
    image = {"Os": "linux", "Architecture": "amd64", "RootFS": {"Layers": ["sha256:1"]}, "Config": config}
    told = {**image, "Id": "other", "Config": {"Cmd": ["x"], "Env": ["A=1"], "Hostname": "", "Volumes": None}}
    assert fingerprint(image) == fingerprint(told)
    for change in (
        {"Architecture": "arm64"},
        {"RootFS": {"Layers": ["sha256:2"]}},
        {"Config": {"Cmd": ["y"]}},
    ):
        assert fingerprint({**image, **change}) != fingerprint(image)


def test_services_that_are_built_alike_share_an_image() -> None:
    builds = [
        {"service": "web", "context": ".", "target": None, "args": {"N": 1}},
        {"service": "worker", "context": ".", "args": {"N": "1"}},
        {"service": "docs", "context": "docs"},
        {"service": "own", "context": ".", "args": {"N": 1}, "tag": "reg/own:7"},
    ]
    tags = [build.tag for build in with_tags(builds, "shop", "abc")]
    assert tags == ["shop/web:abc", "shop/web:abc", "shop/docs:abc", "reg/own:7"]


def test_arguments_are_written_as_compose_writes_them() -> None:
    (build,) = with_tags([{"service": "web", "args": {"A": True, "B": None, "C": 1, "D": 1.0}}], "shop", "a")
    assert build.args == {"A": "true", "C": "1", "D": "1"}
