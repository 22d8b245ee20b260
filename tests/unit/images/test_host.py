"""The host's part against engines that misbehave; real ones are in tests/integration/ship."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.images import cache as image_cache
from ansible.module_utils.slipway.images.engine import DockerError, Runner, facts, inspect, inspect_all
from ansible.module_utils.slipway.images.host import load, login, probe

IMAGE = {
    "Id": "sha256:1",
    "Os": "linux",
    "Architecture": "amd64",
    "RootFS": {"Layers": ["sha256:a"]},
    "Config": {},
}
WANTED = [{"reference": "shop:1", "id": "sha256:1", "fingerprint": facts(IMAGE).fingerprint, "layers": []}]


def engine(answers: dict[str, tuple[int, str, str]], seen: list[str]) -> Runner:
    """An engine that answers by the beginning of the command, and succeeds at everything else."""

    def run(argv: list[str]) -> tuple[int, str, str]:
        seen.append(" ".join(argv))
        return next((answer for start, answer in answers.items() if seen[-1].startswith(start)), (0, "", ""))

    return run


HAS_IT = {"docker image inspect": (0, json.dumps([IMAGE]), "")}


@pytest.mark.parametrize(
    "answer",
    [
        (1, "", "open .../blobs/sha256/f3d6: no such file or directory"),
        # Docker 28 with containerd's store: exit code 0, a name, and layers missing.
        (0, "Loaded image: shop:1\nError unpacking image shop:1: content digest sha256:f3d6: not found", ""),
    ],
)
def test_a_load_that_failed_leaves_nothing(tmp_path: Path, answer: tuple[int, str, str]) -> None:
    (tmp_path / "a.tar").write_text("x")
    result = load(engine({"docker load": answer, **HAS_IT}, []), WANTED, str(tmp_path), "a.tar")
    assert result["error"] and not result["changed"]
    assert list(tmp_path.iterdir()) == []


def test_a_good_load(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("x")
    good = {"docker load": (0, "Loaded image: shop:1", ""), **HAS_IT}
    result = load(engine(good, []), WANTED, str(tmp_path), "a.tar")
    assert result == {"changed": True, "error": "", "ids": {"shop:1": "sha256:1"}}
    assert list(tmp_path.iterdir()) == []


def test_an_image_without_its_layers_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker 28 lists a half loaded image with the right id, and without layers."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    answers = {
        "docker info": (0, json.dumps({"ServerVersion": "28.5.2", "DockerRootDir": "/"}), ""),
        "docker image ls": (0, "sha256:1\n", ""),
    }
    whole = {**IMAGE, "RepoTags": ["shop:1"]}
    for image, lacking in (({**whole, "RootFS": {}}, ["shop:1"]), (whole, [])):
        run = engine({**answers, "docker image inspect": (0, json.dumps([image]), "")}, [])
        assert probe(run, WANTED, str(tmp_path), check=False)["lacking"] == lacking


def test_a_full_disk_is_not_answered_with_a_bigger_archive(tmp_path: Path) -> None:
    full = {"docker load": (1, "", "write /layer.tar: no space left on device"), **HAS_IT}
    with pytest.raises(DockerError, match=r"disk of this host is full.*docker system df"):
        load(engine(full, []), WANTED, str(tmp_path), "a.tar")


def test_another_image_than_the_wanted_one_is_an_error(tmp_path: Path) -> None:
    other = {**IMAGE, "Id": "sha256:2", "RootFS": {"Layers": ["sha256:b"]}}
    with pytest.raises(DockerError, match="is sha256:2 on this host; the controller's is sha256:1"):
        load(
            engine({"docker image inspect": (0, json.dumps([other]), "")}, []), WANTED, str(tmp_path), "a.tar"
        )


def test_an_engine_that_does_not_answer_is_not_a_missing_image() -> None:
    down = {"docker image inspect": (1, "", "Cannot connect to the Docker daemon")}
    with pytest.raises(DockerError, match="Cannot connect"):
        inspect(engine(down, []), "shop:1")
    missing = {"docker image inspect": (1, "[]", "Error: No such image: shop:1")}
    assert inspect(engine(missing, []), "shop:1") is None


def test_an_image_removed_while_looking_does_not_matter() -> None:
    answers = {
        "docker image ls": (0, "sha256:1\nsha256:2\n", ""),
        "docker image inspect": (1, json.dumps([IMAGE]), "Error: No such image: sha256:2"),
    }
    assert [image.id for image in inspect_all(engine(answers, []))] == ["sha256:1"]


def test_the_password_is_in_a_private_file_for_a_moment() -> None:
    seen: list[str] = []
    registry = {"url": "https://reg.example.com:5000/team", "username": "u", "password": "hunter2"}
    answers = {"docker context": (0, "unix:///var/run/docker.sock\n", "")}
    with login(engine(answers, seen), registry) as command:
        config = Path(command[2]) / "config.json"
        assert config.stat().st_mode & 0o777 == 0o600 and config.parent.stat().st_mode & 0o777 == 0o700
        assert list(json.loads(config.read_text())["auths"]) == ["reg.example.com:5000"]
        assert "hunter2" not in " ".join([*seen, *command])
    assert not config.exists()


def test_the_cache_forgets_what_is_old_and_what_a_dead_run_left(tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("mine.tar", "mine-whole.tar.zst", ".tmp-mine.tar", "other.tar"):
        (tmp_path / name).write_text("x")
    image_cache._remove_old(tmp_path, "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine-whole.tar.zst", "mine.tar", "other.tar"]
    monkeypatch.setattr(image_cache, "KEEP_S", -1.0)
    image_cache._remove_old(tmp_path, "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine-whole.tar.zst", "mine.tar"]


def test_a_moved_tag_is_refused_and_an_unbuilt_image_is_told() -> None:
    with pytest.raises(DockerError, match="not sha256:9 as it was built"):
        image_cache.resolve(engine(HAS_IT, []), [{"reference": "shop:1", "id": "sha256:9"}], check=False)
    missing = {"docker image inspect": (1, "[]", "Error: No such image: shop:1")}
    with pytest.raises(DockerError, match="run the build phase"):
        image_cache.resolve(engine(missing, []), [{"reference": "shop:1"}], check=False)
    assert image_cache.resolve(engine(missing, []), [{"reference": "shop:1"}], check=True) == ([], ["shop:1"])
