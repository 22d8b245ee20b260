"""What slipway adds to the work itself: a release, a rollback, the switch, beside the same work by plain commands.

Usage: ``python tests/bench/release.py [runs]`` (default 3). Makes the fleet of the stories, and leaves it.

The floor is a plain script: dump and trial restore, build and `docker save | docker load` to both hosts at once, migration
and indexes in one-shot commands, Compose up on both hosts at once, wait for health, touch the flag, ask until the new colour
answers, hand the worker over, stop the old colour. It runs from the files of the release that slipway has just put back, so
both do the same to the same containers. Both find what a first release would not: base layers, build cache, schema.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "stories"))
from conftest import FLEET, Run, System, on
from conftest import ROOT as ROOT_DIRECTORY

HOSTS = ("app1", "app2")
ROOT = "/var/lib/slipway/reviews"


def compose(content: str, colour: str, command: str) -> str:
    """Return the shell command that runs Compose for a colour from a release's files."""
    files = f"{ROOT}/releases/{content}"
    return (
        f"cd {files} && docker compose -p reviews-{colour} --project-directory {files} --env-file {files}/.env"
        f" -f {files}/compose.yaml -f {files}/slipway-{colour}.yaml {command}"
    )


def both(script: str) -> None:
    """Run a script on both app hosts at once."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: on(host, script), HOSTS))


def forget(images: list[str]) -> None:
    """Remove images from both hosts and from here, so that they are built (from the cache) and shipped again."""
    names = " ".join(images)
    both(f"docker image rm -f {names} >/dev/null 2>&1 || true")
    # Here it has the tag it was built under, too, without the image's own id.
    built = [name.rpartition("-")[0] for name in images]
    subprocess.run(["docker", "image", "rm", *images, *built], capture_output=True, check=False)


def build_and_ship(system: System, images: list[str]) -> None:
    """Build as a plain user would, and send the result to both hosts at once."""
    with tempfile.TemporaryDirectory() as context:
        repository = ROOT_DIRECTORY / "var" / "examples" / "reviews"
        subprocess.run(f"git -C {repository} archive v2 | tar x -C {context}", shell=True, check=True)
        build = f"docker build -q --build-arg BASE=slipway/debian:13 -t {images[0]} {context}"
        subprocess.run(build, shell=True, check=True, capture_output=True)
    fleet = ROOT_DIRECTORY / "var" / "fleet" / FLEET
    options = f"-o UserKnownHostsFile={fleet}/known_hosts -i {fleet}/id_ed25519"

    def ship(host: str) -> None:
        command = f"docker save {images[0]} | ssh {options} root@{system.address(host)} docker load -q"
        subprocess.run(command, shell=True, check=True, capture_output=True)

    with ThreadPoolExecutor() as pool:
        list(pool.map(ship, HOSTS))


def floor(
    system: System, content: str, colour: str, old: str, old_content: str, images: list[str]
) -> dict[str, float]:
    """Do a release by plain commands; seconds by step."""
    took: dict[str, float] = {}
    last = time.monotonic()

    def step(name: str) -> None:
        nonlocal last
        took[name] = time.monotonic() - last
        last = time.monotonic()

    dump = (
        "docker exec reviews-db-1 sh -c 'pg_dump -U reviews -Fc reviews > /tmp/d && createdb -U reviews floor"
        " && pg_restore -U reviews -d floor -j2 /tmp/d && dropdb -U reviews floor'"
    )
    on("data1", dump)
    step("backup")
    build_and_ship(system, images)
    step("build and ship")
    on("app1", compose(content, colour, "run --rm --no-deps -T migrate alembic upgrade head"))
    step("migrate")
    index = "create index concurrently if not exists floor_idx on marketing.qr_scans (session_id)"
    system.sql(index)
    step("index")
    both(compose(content, colour, "up -d --no-deps --wait web"))
    step("start")
    on(
        "edge1",
        f"touch {ROOT}/edge/green" if colour == "green" else f"touch {ROOT}/edge/blue; rm {ROOT}/edge/green",
    )
    while (
        colour
        not in subprocess.run(
            [
                "curl",
                "-skI",
                "--resolve",
                f"{system.domain}:443:{system.address()}",
                f"https://{system.domain}/version",
            ],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    ):
        pass
    step("switch")
    on("app1", compose(old_content, old, "stop worker"))
    on("app1", compose(content, colour, "up -d --no-deps --wait worker"))
    step("worker")
    both(compose(old_content, old, "stop"))
    step("finish")
    return took


def live(system: System) -> dict[str, str]:
    """Return the record of the live release."""
    records = [one for one in system.records() if one.get("verdict") == "live" and not one.get("live_until")]
    return max(records, key=lambda record: record["live_from"])


def checked(run: Run) -> Run:
    """Return a run that ended well."""
    assert run.code == 0, run.output[-3000:]
    return run


def median(values: list[float]) -> float:
    """Return the median, to a tenth."""
    return round(statistics.median(values), 1)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    system = System(extra={"watch_seconds": 0})
    checked(system.deploy("v1"))
    checked(system.run("playbooks/job.yml", job="seed"))
    releases, floors, nothing, cold, warm, preflight = [], [], [], [], [], []
    phases, steps, flips = "", {}, []
    # Once for the migration and the image's name: every run then starts from the same.
    checked(system.deploy("v2"))
    images = [live(system)["images"]["web"]]
    checked(system.rollback())
    for number in range(runs):
        before = live(system)
        forget(images)
        release = checked(system.deploy("v2"))
        releases.append(release.seconds)
        phases = next(line for line in release.output.splitlines() if line.startswith("time "))
        flips += [float(found) for found in re.findall(r"of 12 in (\d+) ms", release.output)]
        preflight.append(sum(float(n) for n in re.findall(r"preflight (\d+\.?\d*) s,", phases)[-1:]))
        cold.append(checked(system.rollback()).seconds)
        checked(system.deploy("v2", release_keep_warm=True))
        warm.append(checked(system.rollback(release_keep_warm=True)).seconds)
        now = live(system)
        both(f"docker ps -aq --filter label=com.docker.compose.project=reviews-{'green' if now['colour'] == 'blue' else 'blue'}"
             " | xargs -r docker rm -f")  # fmt: skip
        other = "green" if now["colour"] == "blue" else "blue"
        last = system.records()
        v2 = next(one for one in reversed(last) if one["version"] == "v2" and one["kind"] == "deploy")
        forget(images)
        steps = floor(system, v2["content"], other, now["colour"], now["content"], images)
        floors.append(sum(steps.values()))
        back = (
            f"touch {ROOT}/edge/green"
            if now["colour"] == "green"
            else f"touch {ROOT}/edge/blue; rm -f {ROOT}/edge/green"
        )
        both(compose(now["content"], now["colour"], "up -d --no-deps --wait web"))
        on("edge1", back)
        on("app1", compose(v2["content"], other, "stop worker"))
        both(compose(v2["content"], other, "down"))
        on("app1", compose(now["content"], now["colour"], "up -d --no-deps --wait worker"))
        nothing.append(checked(system.deploy("v1")).seconds)
        print(
            f"run {number + 1}: release {releases[-1]:.1f} s, floor {floors[-1]:.1f} s, was {before['version']}",
            flush=True,
        )
    ratio = statistics.median(a / b for a, b in zip(releases, floors))
    print(f"full release     {median(releases)} s, floor {median(floors)} s, ratio {ratio:.2f} (aim <= 2.0)")
    print(f"  of slipway     {phases[5:].strip()}")
    print(f"  of the floor   {', '.join(f'{name} {seconds:.1f} s' for name, seconds in steps.items())}")
    print(f"nothing to do    {median(nothing)} s (aim <= 25)")
    print(f"the flip         {median(flips)} ms with its confirmation (aim <= 200)")
    print(f"rollback, warm   {median(warm)} s (aim <= 5)")
    print(f"rollback, cold   {median(cold)} s")
    print(f"preflight        {median(preflight)} s (aim <= 15)")


if __name__ == "__main__":
    main()
