"""Measure verification: health_check against a loop of uri, load_probe's engine against hey.

    .venv/bin/python tests/bench/verify.py [--runs 3] [--json FILE]

Needs nginx and hey (Debian packages of these names). Prints medians of so many runs, and ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "module_utils"))

from slipway.verify.loads.routes import parse_routes  # noqa: E402
from slipway.verify.loads.run import Shape, apply  # noqa: E402

NGINX = """
daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "ok\\n"; }} }}
}}
"""


@contextlib.contextmanager
def nginx() -> Iterator[str]:
    """The URL of an nginx that answers with three bytes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        config = Path(directory, "nginx.conf")
        config.write_text(NGINX.format(directory=directory, port=port))
        process = subprocess.Popen(["nginx", "-c", str(config), "-e", f"{directory}/early.log"])
        try:
            with socket.socket() as probe:
                while probe.connect_ex(("127.0.0.1", port)):
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait()


def playbook(tasks: list[dict[str, Any]]) -> float:
    """Seconds that ansible-playbook takes for these tasks, without its own start."""
    with tempfile.TemporaryDirectory() as directory:
        book = Path(directory, "play.yml")
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
        play["vars"] = {"ansible_python_interpreter": sys.executable}
        book.write_text(json.dumps([play]))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
        }
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", str(book)]
        started = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return time.monotonic() - started


def checks(url: str, count: int) -> dict[str, Any]:
    """One call of health_check with so many checks, each once, as uri looks once."""
    declared = [
        {"name": f"check {number}", "http": f"{url}{number}", "expect": {"body": "ok"}}
        for number in range(count)
    ]
    return {"health_check": {"checks": declared, "consecutive": 1}}


def uris(url: str, count: int) -> dict[str, Any]:
    """The same with ansible.builtin.uri in a loop."""
    return {
        "ansible.builtin.uri": {"url": url + "{{ item }}", "return_content": True},
        "register": "answer",
        "failed_when": "'ok' not in answer.content",
        "loop": list(range(count)),
    }


def health(url: str, runs: int) -> dict[str, Any]:
    """health_check against a loop of uri, with 50 and 200 checks; Ansible's own start is taken off both."""
    nothing = median(lambda: playbook([{"ansible.builtin.meta": "noop"}]), runs)
    found: dict[str, Any] = {"start_s": round(nothing, 2)}
    for count in (50, 200):
        ours = median(lambda count=count: playbook([checks(url, count)]), runs) - nothing
        # The loop takes minutes: once is enough to tell a factor of fifty.
        theirs = playbook([uris(url, count)]) - nothing
        found[str(count)] = {
            "health_check_s": round(ours, 2),
            "uri_s": round(theirs, 1),
            "ratio": round(theirs / ours),
        }
    return found


def hey(url: str, requests: int, concurrency: int) -> dict[str, float]:
    """hey's own figures."""
    command = ["hey", "-n", str(requests), "-c", str(concurrency), url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {key: float(re.search(pattern, out)[1]) for key, pattern in _HEY.items()}  # type: ignore[index]
    return {"rps": found["rps"], "p50": found["p50"] * 1000, "p95": found["p95"] * 1000}


_HEY = {"rps": r"Requests/sec:\s+([0-9.]+)", "p50": r"50% in ([0-9.]+)", "p95": r"95% in ([0-9.]+)"}


def engine(url: str, requests: int, concurrency: int) -> dict[str, float]:
    """load_probe's figures."""
    done = asyncio.run(apply(Shape(requests, None, concurrency), parse_routes(["/"], url)))
    figures = done.figures()
    if figures["failed"]:
        raise SystemExit(f"{figures['failed']} requests failed: {done.details[:3]}")
    return {key: float(figures[key]) for key in ("rps", "p50", "p95")}


def load(url: str, runs: int) -> dict[str, Any]:
    """The engine against hey, in turns, so that whatever else the machine does falls on both."""
    found: dict[str, Any] = {}
    for concurrency, requests in ((10, 20000), (50, 30000)):
        pairs = [
            (engine(url, requests, concurrency), hey(url, requests, concurrency)) for _run in range(runs)
        ]
        ours, theirs = (
            {key: statistics.median(pair[side][key] for pair in pairs) for key in _HEY} for side in (0, 1)
        )
        found[f"c{concurrency}"] = {
            "load_probe": {key: round(value, 2) for key, value in ours.items()},
            "hey": {key: round(value, 2) for key, value in theirs.items()},
            "p95_ratio": round(ours["p95"] / theirs["p95"], 2),
        }
    return found


def median(measure: Callable[[], float], runs: int) -> float:
    """Median of so many measurements."""
    return statistics.median(measure() for _run in range(runs))


def main() -> int:
    """Measure, print, and say by the exit code whether the aims were reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=["health", "load"])
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    lacking = [program for program in ("nginx", "hey") if shutil.which(program) is None]
    if lacking:
        sys.stderr.write(f"missing: apt-get install {' '.join(lacking)}\n")
        return 2
    found: dict[str, Any] = {}
    aims: list[tuple[str, bool]] = []
    with nginx() as url:
        if given.only != "health":
            found["load"] = load(url, given.runs)
            at_50 = found["load"]["c50"]
            aims.append(("load_probe: at least 5,000 requests/s", at_50["load_probe"]["rps"] >= 5000))
            aims.append(
                ("load_probe: p95 at concurrency 50 at most 20 % above hey's", at_50["p95_ratio"] <= 1.2)
            )
        if given.only != "load":
            found["health"] = health(url, given.runs)
            aims.append(
                ("health_check: 200 checks 50 times faster than uri", found["health"]["200"]["ratio"] >= 50)
            )
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    for text, held in aims:
        sys.stdout.write(f"{'reached' if held else 'MISSED'}: {text}\n")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return 0 if all(held for _text, held in aims) else 1


if __name__ == "__main__":
    sys.exit(main())
