"""Compose reads from the rendered environment file exactly what was declared, by its own parser."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from ansible.module_utils.slipway.model.environment import effective, render
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

# What parsers stumble over comes up often, beside any other text that an environment can carry.
NASTY = st.sampled_from(
    [*"\\\"'$#`=% \t\n\r{}:!&|<>;()[]~^,.@?*+-_aAnr019", "\u00e9", "\u2028", "\ufeff", "😀", "\x7f", "\x01"]
)
ANY = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
TEXTS = st.one_of(
    st.text(NASTY, max_size=12), st.text(ANY, max_size=12), st.sampled_from(["${V0}", "a #b", "\\", "'", '"'])
)


@given(values=st.lists(TEXTS, min_size=60, max_size=120))
@example(values=[chr(code) for code in range(1, 0x180)])
@example(
    values=[f"{quote}a{quote}" for quote in "'\"`"]
    + ["export A=1", "A=1\nB=2", "$$", "$V1", "\\n", "\\\\n", "a\\"]
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_text_survives(values: list[str], tmp_path_factory) -> None:
    directory: Path = tmp_path_factory.mktemp("environment")
    texts = {f"V{number}": value for number, value in enumerate(values)}
    (directory / ".env").write_text(render(texts), encoding="utf-8", newline="")
    service = {
        "image": "x",
        "env_file": ".env",
        "environment": {f"I{number}": f"${{V{number}}}" for number in range(len(values))},
    }
    (directory / "compose.yaml").write_text(json.dumps({"services": {"app": service}}))
    ran = subprocess.run(
        ["docker", "compose", "-p", "compose-t", "config", "--format", "json"],
        cwd=directory,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)["services"]["app"]["environment"]
    for number, value in enumerate(values):
        # `config` doubles every dollar, so that what it prints could be read again.
        assert seen[f"V{number}"].replace("$$", "$") == value, "as an env_file"
        assert seen[f"I{number}"].replace("$$", "$") == value, "interpolated"


def test_types_as_a_container_sees_them(tmp_path: Path) -> None:
    texts = effective(
        {"FLAG": False, "PORT": 8000, "RATE": 0.5, "LIST": ["a", "b"], "NOTHING": None, "EMPTY": ""},
        {"LEVEL": {"default": "info"}, "FLAG": {"default": True}, "NOTHING": {"default": 3}},
    )
    (tmp_path / ".env").write_text(render(texts))
    (tmp_path / "compose.yaml").write_text(
        'services: {app: {image: "slipway/debian:13", env_file: .env, command: env}}'
    )
    ran = subprocess.run(
        ["docker", "compose", "-p", "compose-env", "run", "--rm", "-T", "app"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    subprocess.run(["docker", "compose", "-p", "compose-env", "down"], cwd=tmp_path, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    expected = {"FLAG=false", "PORT=8000", "RATE=0.5", "LIST=a,b", "NOTHING=3", "EMPTY=", "LEVEL=info"}
    assert expected <= set(ran.stdout.splitlines())
