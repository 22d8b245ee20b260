"""Images reach a second engine: whole, by the layer, after an interruption, through a registry."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import registry_server

from .conftest import MB, Ansible, Host, sh

Build = Callable[..., str]


def test_first_everything_then_nothing_then_the_changed_layer(
    ansible: Ansible, host: Host, build: Build
) -> None:
    v1 = build("ship-shop:v1", "one")
    plan = ansible.ship([{"reference": "ship-shop:v1", "id": v1}], "--check")[host.name]
    assert plan["changed"] and plan["layers_sent"] == 3 and plan["bytes_sent"] > 9 * MB
    assert plan["diff"] == {"before": "", "after": "ship-shop:v1: archive\n"}
    assert host.image_id("ship-shop:v1") == ""

    first = ansible.ship([{"reference": "ship-shop:v1", "id": v1}])[host.name]
    assert first["changed"] and first["layers_sent"] == 3 and first["bytes_sent"] == plan["bytes_sent"]
    assert host.image_id("ship-shop:v1") == v1
    assert first["gates"] == [
        {"name": "image ship-shop:v1", "value": v1[7:19], "limit": v1[7:19], "verdict": "pass"}
    ]

    again = ansible.ship([{"reference": "ship-shop:v1", "id": v1}])[host.name]
    assert not again["changed"] and again["bytes_sent"] == 0 and again["via"] == "nothing to send"

    v2 = build("ship-shop:v2", "two")
    update = ansible.ship([{"reference": "ship-shop:v2", "id": v2}])[host.name]
    assert (update["layers_sent"], update["layers_known"]) == (1, 2)
    assert update["bytes_sent"] < 20_000
    assert host.image_id("ship-shop:v2") == v2
    assert list(host.staging.iterdir()) == []


def test_several_images_share_their_layers_in_one_archive(ansible: Ansible, host: Host, build: Build) -> None:
    images = [
        {"reference": "ship-shop:web", "id": build("ship-shop:web", "web")},
        {"reference": "ship-shop:worker", "id": build("ship-shop:worker", "worker")},
    ]
    result = ansible.ship(images)[host.name]
    assert result["layers_sent"] == 4  # the two big ones once, and each image's own
    assert result["bytes_sent"] < 9.5 * MB
    assert [host.image_id(image["reference"]) for image in images] == [image["id"] for image in images]


def test_an_image_that_is_there_under_another_name_only_gets_its_tag(
    ansible: Ansible, host: Host, build: Build
) -> None:
    image_id = build("ship-shop:v1", "one")
    ansible.ship([{"reference": "ship-shop:v1"}])
    sh("docker", "tag", "ship-shop:v1", "ship-shop:stable")
    plan = ansible.ship([{"reference": "ship-shop:stable"}], "--check")[host.name]
    assert plan["changed"] and host.image_id("ship-shop:stable") == ""
    result = ansible.ship([{"reference": "ship-shop:stable"}])[host.name]
    assert result["changed"] and result["via"] == "tag" and result["bytes_sent"] == 0
    assert host.image_id("ship-shop:stable") == image_id


def test_a_killed_transfer_is_continued(ansible: Ansible, host: Host, build: Build) -> None:
    image_id = build("ship-shop:v1", "one", big=96 * MB)
    task = {"images": [{"reference": "ship-shop:v1"}], "cache_dir": str(ansible.directory / "cache")}
    process = ansible.start([{"image_ship": task}])
    part = None
    until = time.monotonic() + 60
    while part is None and process.poll() is None and time.monotonic() < until:
        part = next((p for p in host.staging.glob("*-whole*") if p.stat().st_size >= 16 * MB), None)
    assert part is not None and process.poll() is None, "the transfer was over before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kill_workers(ansible.directory)
    time.sleep(1)
    there = part.stat().st_size
    assert 16 * MB <= there < 97 * MB and host.image_id("ship-shop:v1") == ""

    result = ansible.ship([{"reference": "ship-shop:v1"}])[host.name]
    whole = next((ansible.directory / "cache").glob("*-whole*")).stat().st_size
    assert result["bytes_sent"] == whole - there
    assert host.image_id("ship-shop:v1") == image_id
    assert list(host.staging.iterdir()) == []


def kill_workers(directory: Path) -> None:
    """Kill the workers of a dead controller: each has a session of its own."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"ansible-playbook" in command and str(directory).encode() in command:
                os.kill(int(entry.name), signal.SIGKILL)


def test_damaged_leftovers_do_not_matter(ansible: Ansible, host: Host, build: Build) -> None:
    """What is continued may be damaged (a host that lost its power): then it is all sent again."""
    image_id = build("ship-shop:v1", "one")
    plan = ansible.ship([{"reference": "ship-shop:v1"}], "--check")[host.name]
    name = next((ansible.directory / "cache").glob("*-whole*")).name
    host.run("mkdir -p /var/lib/slipway/incoming; echo leftover > /var/lib/slipway/incoming/older.tar.zst")
    host.run(f"head -c 5000000 /dev/urandom > /var/lib/slipway/incoming/{name}")
    result = ansible.ship([{"reference": "ship-shop:v1"}])[host.name]
    assert result["via"] == "whole archive"
    assert result["bytes_sent"] == 2 * plan["bytes_sent"] - 5_000_000
    assert host.image_id("ship-shop:v1") == image_id
    assert list(host.staging.iterdir()) == []


def test_a_layer_lost_meanwhile_brings_the_whole_archive(ansible: Ansible, host: Host, build: Build) -> None:
    """The host says it has the layers, and they are pruned before the archive is loaded."""
    build("ship-shop:v1", "one")
    ansible.ship([{"reference": "ship-shop:v1"}])
    v2 = build("ship-shop:v2", "two")
    ansible.ship([{"reference": "ship-shop:v2"}], "--check")
    name = next(
        p for p in (ansible.directory / "cache").iterdir() if "whole" not in p.name and p.suffix == ".zst"
    )
    # The pruning, made to happen at the worst moment: between the look and the loading.
    host.run(
        "mv /usr/bin/docker /usr/bin/docker.real; printf '%s\n' '#!/bin/sh' "
        f"'case \"$*\" in *{name.stem}*) docker.real image rm -f ship-shop:v1 >/dev/null;; esac' "
        "'exec docker.real \"$@\"' > /usr/bin/docker; chmod +x /usr/bin/docker"
    )
    try:
        results = ansible.ship([{"reference": "ship-shop:v2"}])
    finally:
        host.run("mv /usr/bin/docker.real /usr/bin/docker")
    result = results[host.name]
    assert result["via"] == "whole archive" and result["layers_sent"] == 3
    assert "the whole archive follows" in results["output"]
    assert host.image_id("ship-shop:v2") == v2


def test_engines_with_different_image_stores(ansible: Ansible, second: Host, build: Build) -> None:
    images = [{"reference": "ship-shop:v1", "id": build("ship-shop:v1", "one")}]
    first = ansible.ship(images)[second.name]
    assert first["changed"] and first["gates"][0]["verdict"] == "pass"
    assert first["images"]["ship-shop:v1"]["host_id"] == second.image_id("ship-shop:v1") != images[0]["id"]
    assert not ansible.ship(images)[second.name]["changed"]
    build("ship-shop:v2", "two")
    update = ansible.ship([{"reference": "ship-shop:v2"}])[second.name]
    assert (update["via"], update["layers_sent"]) == ("archive", 1)


def saved_size(host: Host) -> int:
    """Return how many bytes of ship-shop:v2 a host really has."""
    return int(host.run("docker save ship-shop:v2 2>/dev/null | wc -c"))


def test_a_half_loaded_image_is_not_taken_for_a_whole_one(
    ansible: Ansible, second: Host, build: Build
) -> None:
    """containerd's store names an image before its layers are complete, and a host can die just then."""
    build("ship-shop:v1", "one")
    ansible.ship([{"reference": "ship-shop:v1"}])
    build("ship-shop:v2", "two")
    ansible.ship([{"reference": "ship-shop:v2"}], "--check")
    partial = next(p for p in (ansible.directory / "cache").glob("*.zst") if "whole" not in p.name)
    second.run("docker image rm -f ship-shop:v1")
    sh("docker", "cp", str(partial), f"{second.name}:/root/partial")
    assert "not found" in second.run("docker load -i /root/partial 2>&1", check=False)
    assert saved_size(second) < MB
    assert second.image_id("ship-shop:v2")  # it has the name, all the same

    result = ansible.ship([{"reference": "ship-shop:v2"}])[second.name]
    assert result["layers_sent"] >= 1 and result["gates"][0]["verdict"] == "pass"
    assert saved_size(second) > 9 * MB


def test_a_user_with_sudo_will_do(ansible: Ansible, host: Host, build: Build) -> None:
    host.run(
        "id deploy 2>/dev/null || useradd --create-home deploy; cp -r /root/.ssh /home/deploy/; "
        "chown -R deploy: /home/deploy/.ssh; echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/deploy"
    )
    image_id = build("ship-shop:v1", "one")
    ansible.hosts[host.name].update(ansible_user="deploy", ansible_become=True)
    result = ansible.ship([{"reference": "ship-shop:v1"}])[host.name]
    assert result["layers_sent"] == 3 and host.image_id("ship-shop:v1") == image_id
    assert host.staging.stat().st_mode & 0o777 == 0o700


def test_a_tag_that_was_moved_since_the_build_is_refused(ansible: Ansible, host: Host, build: Build) -> None:
    old = build("ship-shop:v1", "one")
    build("ship-shop:v1", "two")
    result = ansible.ship([{"reference": "ship-shop:v1", "id": old}])[host.name]
    assert result["failed"] and "given its tag to another image" in result["msg"]


def test_a_plan_works_before_anything_is_built_and_without_an_engine(ansible: Ansible, host: Host) -> None:
    host.run("mv /usr/bin/docker /usr/bin/docker.gone")
    try:
        plan = ansible.ship([{"reference": "ship-shop:v9", "id": ""}], "--check")[host.name]
        real = ansible.ship([{"reference": "ship-shop:v9"}])[host.name]
    finally:
        host.run("mv /usr/bin/docker.gone /usr/bin/docker")
    assert plan["changed"] and plan["msg"] == "not built yet: ship-shop:v9"
    assert real["failed"] and "run the build phase" in real["msg"]


def test_through_a_registry(ansible: Ansible, host: Host, build: Build, registry: dict[str, str]) -> None:
    v1 = build("ship-shop:v1", "one")
    first = ansible.ship([{"reference": "ship-shop:v1"}], "-vvv", registry=registry)
    assert not first[host.name].get("failed"), first[host.name]["msg"]
    assert first[host.name]["via"] == "registry" and first[host.name]["gates"][0]["verdict"] == "pass"
    assert host.image_id("ship-shop:v1") == v1
    assert "sesame-4711" not in first["output"]
    assert "ship-shop" in first["output"]
    assert not ansible.ship([{"reference": "ship-shop:v1"}], registry=registry)[host.name]["changed"]

    # The registry has lost everything, and the engine still believes the image is there.
    sh("docker", "exec", registry_server.NAME, "sh", "-c", "rm -rf /var/lib/docker-registry/docker")
    sh("docker", "restart", "--time", "0", registry_server.NAME)
    host.run("docker image ls -aq | xargs -r docker image rm -f")
    assert ansible.ship([{"reference": "ship-shop:v1"}], registry=registry)[host.name]["via"] == "registry"
    assert host.image_id("ship-shop:v1") == v1

    host.run("docker image ls -aq | xargs -r docker image rm -f")
    wrong = {**registry, "password": "wrong-0815"}
    refused = ansible.ship([{"reference": "ship-shop:v1"}], registry=wrong)[host.name]
    assert refused["failed"] and "could not be pushed" in refused["msg"]
    assert host.run("ls -d /tmp/slipway-docker-* 2>/dev/null", check=False) == ""


def test_forks_share_one_archive(ansible: Ansible, host: Host, build: Build) -> None:
    """Several hosts at once: docker save runs once. The same server stands for three of them here."""
    build("ship-shop:v1", "one")
    wrapper = ansible.directory / "bin"
    wrapper.mkdir(exist_ok=True)
    real = subprocess.check_output(["sh", "-c", "command -v docker"], text=True).strip()
    log = ansible.directory / "saves"
    log.write_text("")
    program = wrapper / "docker"
    program.write_text(f'#!/bin/sh\n[ "$1" = save ] && echo save >> {log}\nexec {real} "$@"\n')
    program.chmod(0o755)
    for name in ("a", "b", "c"):
        ansible.hosts[name] = host.inventory()
    del ansible.hosts[host.name]
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{wrapper}:{before}"
    try:
        plan = ansible.ship([{"reference": "ship-shop:v1"}], "--check")
    finally:
        os.environ["PATH"] = before
    assert [plan[name]["layers_sent"] for name in "abc"] == [3, 3, 3]
    assert log.read_text() == "save\n"
