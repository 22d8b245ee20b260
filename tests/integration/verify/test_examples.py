"""What the runbooks ask of their applications, declared and walked against the examples that stand for them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.module_utils.slipway.masking.redactor import Redactor
from ansible.module_utils.slipway.verify.checks.run import parse_checks, run_checks, summary
from ansible.module_utils.slipway.verify.flows.run import failure, parse_flows, run_flow
from ansible.module_utils.slipway.verify.loads.budget import judge
from ansible.module_utils.slipway.verify.loads.run import Load, parse_loads
from ansible.module_utils.slipway.verify.moments import Place, at_moment, spread_checks

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests/integration/examples"))

from examples_system import ENVIRONMENT, Reviews, run  # noqa: E402

SECRETS = {
    "vault_webhook_secret": "test-webhooks-0123",
    "vault_demo_password": "test-password-0123",
    "vault_admin_token": "test-admin-0123",
}


def declared(path: Path, **values: str) -> dict[str, Any]:
    """Variables of an inventory, with values filled in as Ansible would."""
    return yaml.safe_load(jinja2.Template(path.read_text()).render(**values))


def checks(system: str) -> dict[str, Any]:
    return declared(ROOT / "inventories" / system / "group_vars/all/checks.yml", **SECRETS)


def verify(variables: dict[str, Any], base_url: str, connect_to: str) -> list[str]:
    """Everything that is declared, at the moment `demand`; returns what failed."""
    place = Place(base_url, connect_to)
    # There is no edge here, so no certificate either.
    plain = [check for check in at_moment(variables["verify_checks"], "demand", "") if "tls" not in check]
    checks = parse_checks(spread_checks(plain, [place]), 0.2)
    outcomes = asyncio.run(run_checks(checks, 20.0))
    problems = [summary(outcomes, Redactor())["msg"]] if not all(outcome.ok for outcome in outcomes) else []
    for flow in parse_flows(at_moment(variables["verify_flows"], "demand", ""), [place], Redactor()):
        done = asyncio.run(run_flow(flow))
        problems += [failure(flow, done)] if failure(flow, done) else []
        problems += [f"{flow.name}: {step.lines}" for step in done if step.verdict == "warn"]
    loads = variables.get("verify_load") or []
    for load in parse_loads(at_moment(loads, "demand", ""), [place]) if loads else []:
        problems += loaded(load)
    return problems


def loaded(load: Load) -> list[str]:
    """Budgets that do not hold in the best of three runs: other tests may use the machine at the same time."""
    baseline = load.run(str).figures()
    bad: list[str] = []
    for _run in range(3):
        gates = judge(load.budgets, load.run(str).figures(), {}, baseline)
        bad = [str(gate) for gate in gates if gate["verdict"] != "pass"]
        if not bad:
            break
    return bad


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    """Start one of the small examples; gives the address of its container."""
    names: list[str] = []
    images: list[str] = []

    def start(example: str, **environment: str) -> str:
        image = f"verify-{example}:{os.getpid()}"
        run(
            "docker",
            "build",
            "-q",
            "--build-arg",
            "BASE=slipway/debian:13",
            "-t",
            image,
            str(ROOT / "examples" / example),
        )
        images.append(image)
        name = f"verify-{example}-{os.getpid()}"
        names.append(name)
        options = [part for item in environment.items() for part in ("--env", "=".join(item))]
        run("docker", "run", "-d", "--name", name, "--read-only", *options, image)
        # Its own health check decides whether it is released at all.
        health = ["docker", "inspect", "--format", "{{.State.Health.Status}}", name]
        end = time.monotonic() + 30
        while (seen := run(*health).stdout.strip()) != "healthy":
            assert time.monotonic() < end, f"{name} is {seen}"
            time.sleep(0.2)
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return run("docker", "inspect", "--format", template, name).stdout.strip() + ":8000"

    yield start
    subprocess.run(["docker", "rm", "-fv", *names], capture_output=True, check=False)
    subprocess.run(["docker", "rmi", *images], capture_output=True, check=False)


def test_kitchen(started: Any) -> None:
    address = started(
        "kitchen",
        TOKEN_SECRET="test-tokens-0123",
        WEBHOOK_SECRET=SECRETS["vault_webhook_secret"],
        DEMO_PASSWORD=SECRETS["vault_demo_password"],
    )
    assert verify(checks("kitchen"), "http://kitchen.test", address) == []


def test_chat(started: Any) -> None:
    address = started("chat", ADMIN_TOKEN=SECRETS["vault_admin_token"], STRIPE_SECRET_KEY="test-stripe-0123")
    assert verify(checks("chat"), "http://chat.test", address) == []


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviews]:
    directory = tmp_path_factory.mktemp("reviews")
    run(str(ROOT / "examples/reviews/history"), str(directory / "history"))
    system = Reviews(directory)
    system.image("v1")
    (directory / "v1/.env").write_text("".join(f"{name}={value}\n" for name, value in ENVIRONMENT.items()))
    try:
        system.compose("up", "-d", "--wait", "db", "redis")
        system.compose("run", "--rm", "migrate")
        system.compose("run", "--rm", "seed")
        system.compose("up", "-d", "--wait", "web")
        yield system
    finally:
        system.remove()


def reviews_checks(release: str) -> dict[str, Any]:
    """The checks of the reference system, where it was told nothing of a release: it then calls itself by its revision."""
    path = ROOT / "inventories/prod/group_vars/all/checks.yml"
    return declared(path, vault_admin_api_key=ENVIRONMENT["ADMIN_API_KEY"], release_version=release)


def test_reviews(reviews: Reviews) -> None:
    web = reviews.service("web")
    variables = reviews_checks(web.ask("/version").json["release"])
    time.sleep(1)
    assert (
        verify(variables, "https://reviews.example.test".replace("https", "http"), f"{web.address}:8000")
        == []
    )


def test_a_release_with_a_broken_route_is_noticed(reviews: Reviews) -> None:
    broken = reviews.start("broken-route")
    broken.wait("healthy", 60)
    variables = {**reviews_checks(broken.ask("/version").json["release"]), "verify_load": []}
    problems = verify(variables, "http://reviews.example.test", f"{broken.address}:8000")
    assert problems and "-> 500" in "\n".join(problems)
