"""The modules and the role as Ansible runs them: results, messages, check mode, and no secret at -vvv."""

from __future__ import annotations

import html
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from verify_servers import Server, always, answer, read_request, serve
from verify_shop import HOOK_SECRET, PASSWORD, TOKEN, Shop

ROOT = Path(__file__).resolve().parents[3]


class Ansible:
    """Runs tasks on this machine and reads their results back."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = ""

    def run(
        self,
        *tasks: dict[str, Any],
        arguments: tuple[str, ...] = (),
        settings: dict[str, str] | None = None,
        **variables: Any,
    ) -> tuple[int, list[dict[str, Any]]]:
        """Exit code, and the result of each task."""
        seen = self.directory / "results.json"
        play = {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": sys.executable, **variables},
            "tasks": list(tasks),
        }
        book = self.directory / "play.yml"
        book.write_text(yaml.safe_dump([play], sort_keys=False))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_NOCOLOR": "1",
            **(settings or {}),
        }
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", "localhost,", "-vvv", *arguments, str(book)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        self.output = done.stdout + done.stderr
        seen.write_text(self.output)
        return done.returncode, _results(done.stdout)


def _results(output: str) -> list[dict[str, Any]]:
    """The JSON that the default callback prints after each `=> `."""
    found, decoder, at = [], json.JSONDecoder(), 0
    while (at := output.find("=> {", at)) >= 0:
        data, length = decoder.raw_decode(output[at + 3 :])
        found.append(data)
        at += 3 + length
    return found


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    return Ansible(tmp_path)


@pytest.fixture
def shop() -> Iterator[tuple[Shop, Server]]:
    shop = Shop()
    with serve(shop) as server:
        yield shop, server


def base(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


FLOW = {
    "flow": "checkout",
    "steps": [
        {
            "name": "login",
            "post": "/api/login",
            "json": {"user": "smoke", "password": PASSWORD},
            "save": {"token": {"json": "access_token", "secret": True}},
        },
        {
            "name": "me",
            "get": "/api/me",
            "headers": {"Authorization": "Bearer ${token}"},
            "expect": {"json": {"token": "x"}},
        },
    ],
}
SECRETS = (
    PASSWORD,
    TOKEN[:40],
    "c00kie-value",
    "redis-pw-1234",
    "dsn-pw-5678",
    "bearer-9999",
    HOOK_SECRET,
    "pw-in-url",
)


def test_no_secret_at_vvv_whatever_happens(ansible: Ansible, shop: tuple[Shop, Server]) -> None:
    _shop, server = shop
    port = server.port
    checks = {
        "deadline": "1s",
        "checks": [
            {"name": "redis", "redis": {"address": f"127.0.0.1:{port}", "password": "redis-pw-1234"}},
            {
                "name": "dsn",
                "postgres": f"postgresql://app:dsn-pw-5678@127.0.0.1:{port}/x",
                "timeout": "0.5s",
            },
            {
                "name": "header",
                "http": {"url": base(server), "headers": {"Authorization": "Bearer bearer-9999"}},
            },
            {"name": "url", "http": f"http://joe:pw-in-url@127.0.0.1:{port}/"},
        ],
    }
    mistake = {"checks": [{"name": "x", "redis": {"adress": "y", "password": "redis-pw-1234"}}]}
    wrong_argument = {"chekcs": [], "checks": checks["checks"]}
    hook = {
        "post": "/hooks/pay",
        "body": "{}",
        "sign": {"scheme": "standard-webhooks", "secret": HOOK_SECRET},
        "expect": {"status": 299},
    }
    load = {
        "name": "login",
        "routes": [{"path": "/api/login", "json": {"user": "u", "password": PASSWORD[:-1]}}],
        "requests": 5,
    }
    tasks = [
        {"health_check": checks},
        {"health_check": mistake},
        {"health_check": wrong_argument},
        {"smoke_flow": {"base_url": base(server), "flows": [FLOW]}, "ignore_errors": True},
        {
            "smoke_flow": {"base_url": base(server), "flows": [{"flow": "hook", "steps": [hook]}]},
            "ignore_errors": True,
        },
        {
            "load_probe": {"base_url": base(server), "loads": [{**load, "budgets": {"errors": "0%"}}]},
            "ignore_errors": True,
        },
    ]
    # As in an inventory: the playbook names variables, the values come from elsewhere. Ansible itself quotes
    # the lines of a playbook around a task that failed.
    names = [f"task_{number}" for number in range(len(tasks))]
    modules = [next(iter(task)) for task in tasks]
    values = {name: task[module] for name, module, task in zip(names, modules, tasks)}
    (ansible.directory / "values.yml").write_text(yaml.safe_dump(values))
    told = [{module: f"{{{{ {name} }}}}", "ignore_errors": True} for name, module in zip(names, modules)]
    code, results = ansible.run(*told, arguments=("-e", f"@{ansible.directory / 'values.yml'}"))
    assert code == 0 and len(results) == 6 and all(result.get("msg") for result in results)
    assert "4 of 4 checks failed" in results[0]["msg"]
    assert "did you mean 'address'?" in results[1]["msg"]
    assert "Unsupported parameters" in results[2]["msg"]
    assert "checkout failed at step 2 of 2, 'me'" in results[3]["msg"]
    assert 'json token: saw "********"' in results[3]["msg"]
    assert "hook failed at step 1 of 1" in results[4]["msg"]
    assert "status 401" in results[5]["msg"]
    leaked = [secret for secret in (*SECRETS, PASSWORD[:-1]) if secret in ansible.output]
    assert not leaked
    assert '"checks"' in ansible.output, "the results themselves must be there, or nothing was tested"


def test_health_check_result(ansible: Ansible) -> None:
    with serve(
        lambda c: (read_request(c), c.sendall(answer(b'{"version": "1.2"}', kind="application/json")))
    ) as server:
        checks = [
            {"name": "good", "http": base(server), "expect": {"version": "1.2"}},
            {"name": "soft", "http": base(server), "expect": {"version": "1.3"}, "severity": "warning"},
        ]
        task = {"health_check": {"checks": checks, "interval": "0.1s"}, "register": "health"}
        # The screen shows warnings apart; a playbook finds them in the result.
        code, (result, warnings) = ansible.run(task, {"ansible.builtin.debug": {"var": "health.warnings"}})
        assert code == 0 and result["changed"] is False
        assert result["failed_checks"] == []
        assert result["checks"]["good"]["ok"] and result["checks"]["good"]["attempts"] == 3
        assert result["checks"]["good"]["observed"]["version"] == "1.2"
        assert warnings["health.warnings"] == ['soft: version: saw "1.2", expected "1.3"']
        assert [gate["verdict"] for gate in result["gates"]] == ["pass", "warn"]
        assert result["report"]["verification"]["demand: health"].keys() == {"good", "soft"}
        checks[1]["severity"] = "critical"
        code, (result,) = ansible.run(
            {"health_check": {"checks": checks, "deadline": "1s", "interval": "0.1s"}}
        )
        assert code == 2 and result["failed_checks"] == ["soft"]
        assert "1 of 2 checks failed" in result["msg"] and "- soft (http GET" in result["msg"]


def test_load_probe_result(ansible: Ansible) -> None:
    """Every option of a load, every budget kept and broken, and what is said of it."""
    release = Release("v2")
    with serve(release) as server:
        common = {"requests": 60, "concurrency": 3, "warm_up": 5, "timeout": "3s", "routes": ["/a"]}
        kept = {"errors": "0%", "rps": 5, **dict.fromkeys(("mean", "p50", "p90", "p95", "max"), "3s")}
        broken = {"rps": 1e9, **dict.fromkeys(("p50", "max"), "0.001ms")}
        mixed = [
            {"name": "read", "path": "/a", "weight": 2, "headers": {"X-A": "b"}},
            {"url": f"{base(server)}/b", "method": "PUT", "body": "x", "connections": "fresh", "status": 200},
        ]
        loads = [
            {"name": "closed", **common, "budgets": kept},
            {
                "name": "open",
                "routes": mixed,
                "rate": 60,
                "duration": "1s",
                "release_header": "Content-Type",
                "budgets": {"p99": "3s", "p50": "3s"},
            },
            {"name": "too tight", **common, "connections": "fresh", "budgets": broken},
            {"name": "relative", **common, "budgets": {"p95": "2x baseline or +3s", "rps": "0.01x baseline"}},
        ]
        where = {"base_url": "http://shop.test", "connect_to": f"127.0.0.1:{server.port}"}
        baseline = {"relative": {"p95": 1.0, "rps": 100.0}}
        task = {"load_probe": {**where, "loads": loads, "baseline": baseline, "inconclusive": "fail"}}
        code, (result,) = ansible.run(task)
    assert code == 2 and result["failed_loads"] == ["open", "too tight"]
    gates = {gate["name"]: gate for gate in result["gates"]}
    assert {gates[f"closed: {name}"]["verdict"] for name in kept} == {"pass"}
    # 60 answers are no hundred.
    assert (
        gates["open: p99"]["verdict"] == "inconclusive" and "too few for p99" in gates["open: p99"]["detail"]
    )
    assert gates["open: p50"]["verdict"] == "pass"
    assert {gates[f"too tight: {name}"]["verdict"] for name in broken} <= {"fail", "inconclusive"}
    assert (
        gates["relative: p95"]["baseline"] == "1 ms" and gates["relative: p95"]["limit"] == "at most 3001 ms"
    )
    assert gates["relative: rps"]["verdict"] == "pass" and gates["relative: rps"]["limit"] == "at least 1/s"
    closed, mixed_figures = result["loads"]["closed"], result["loads"]["open"]
    assert closed["requests"] == 60 and closed["failed"] == 0 and closed["overhead"]["p95"] > 0
    assert sum(entry["count"] for entry in closed["histogram"]) == 60
    assert sum(entry["ok"] for entry in closed["timeline"]) == 60
    assert mixed_figures["routes"] == {"PUT /b": {"ok": 20, "failed": 0}, "read": {"ok": 40, "failed": 0}}
    assert mixed_figures["releases"]["application/json"]["responses"] == 60
    assert release.seen == {"Host: shop.test", f"Host: 127.0.0.1:{server.port}"}
    assert "too tight: 60 requests, 0 failed" in result["msg"]


def test_an_expression_that_never_ends(ansible: Ansible) -> None:
    with serve(always(answer(b"a" * 60 + b"!"))) as server:
        checks = [{"name": "x", "http": base(server), "expect": {"body": {"matches": "^(a|a)+$"}}}]
        started = time.monotonic()
        code, (result,) = ansible.run({"health_check": {"checks": checks, "deadline": "1s"}})
    assert code == 2 and "still busy after 6 s" in result["msg"]
    assert time.monotonic() - started < 20


def test_check_mode(ansible: Ansible, shop: tuple[Shop, Server]) -> None:
    the_shop, server = shop
    checks = [
        {"name": "read", "http": f"{base(server)}/products/1"},
        {
            "name": "write",
            "http": {"url": f"{base(server)}/products/1", "method": "PUT", "json": {"price": 5}},
        },
    ]
    tasks = [
        {"health_check": {"checks": checks, "interval": "0.1s"}},
        {"smoke_flow": {"base_url": base(server), "flows": [FLOW]}},
        {
            "load_probe": {
                "base_url": base(server),
                "loads": [{"name": "l", "routes": ["/"], "requests": 50, "budgets": {"rps": 1}}],
            }
        },
    ]
    code, results = ansible.run(*tasks, arguments=("--check",))
    assert code == 0, ansible.output
    assert [gate["verdict"] for gate in results[0]["gates"]] == ["pass", "inconclusive"]
    assert {gate["verdict"] for gate in results[1]["gates"]} == {"inconclusive"}
    assert {method for method, _target in the_shop.requests} == {"GET"} and len(the_shop.requests) == 3


class Release:
    """A replica, or the edge: says which release it is and how it was asked for."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.seen: set[str] = set()

    def __call__(self, connection: Any) -> None:
        while True:
            request = read_request(connection)
            if not request:
                return
            head = request.decode().split("\r\n")
            self.seen.add(next(line for line in head if line.startswith("Host:")))
            body = json.dumps({"status": "healthy", "version": self.version}).encode()
            connection.sendall(answer(body, kind="application/json", close=False))


def role(entry: str) -> dict[str, Any]:
    return {"name": entry, "ansible.builtin.include_role": {"name": "verify", "tasks_from": entry}}


DECLARED: dict[str, Any] = {
    "verify_interval": "0.1s",
    "verify_deadline": "2s",
    "verify_checks": [
        {"name": "version", "http": "/version", "expect": {"version": "v2"}},
        {"name": "only public", "http": "/health", "at": "public"},
    ],
    "verify_flows": [
        {"flow": "look", "steps": [{"get": "/health", "expect": {"json": {"status": "healthy"}}}]}
    ],
    "verify_load": [
        {
            "name": "browse",
            "routes": ["/api"],
            "requests": 200,
            "budgets": {"errors": "0%", "rps": 20, "p95": "2x baseline or +2s"},
        }
    ],
}


def test_role_at_every_moment(ansible: Ansible) -> None:
    one, two, edge = Release("v2"), Release("v2"), Release("v2")
    with serve(one) as first, serve(two) as second, serve(edge) as public:
        targets = [
            {"name": "web-1", "address": "127.0.0.1", "port": first.port},
            {"name": "web-2", "address": "127.0.0.1", "port": second.port},
        ]
        variables = {
            **DECLARED,
            "verify_base_url": "http://shop.test",
            "verify_connect_to": f"127.0.0.1:{public.port}",
            "verify_targets": targets,
        }
        entries = [role(name) for name in ("declared", "baseline", "dark", "public", "main")]
        code, results = ansible.run(*entries, **variables)
        assert code == 0, ansible.output
        gates = {gate["name"]: gate for result in results for gate in result.get("gates", [])}
        assert {gate["verdict"] for gate in gates.values()} == {"pass"}
        for name in (
            "version @ web-1",
            "version @ web-2",
            "look @ web-1: get /health",
            "version",
            "only public",
            "browse: p95",
        ):
            assert name in gates
        assert "only public @ web-1" not in gates
        assert gates["browse: p95"]["detail"].startswith("2x the baseline of")
        assert one.seen == two.seen == edge.seen == {"Host: shop.test"}
        assert first.connections and second.connections

        two.version = "v1"
        code, results = ansible.run(role("dark"), **variables)
        assert code == 2
        failed = [result for result in results if result.get("failed_checks")]
        assert failed[0]["failed_checks"] == ["version @ web-2"], "the one replica that runs the old release"
        assert 'saw "v1", expected "v2"' in failed[0]["msg"]


def test_checks_expect_the_version_of_the_release(ansible: Ansible) -> None:
    """Through the role, at each moment; which version that is, tests/unit/release/test_version.py says."""
    answers = Release("v2")
    with serve(answers) as public:
        variables = {
            **DECLARED,
            "verify_checks": [
                {"name": "version", "http": "/", "expect": {"version": "{{ release_version }}"}}
            ],
            "verify_base_url": base(public),
            "verify_targets": [{"name": "web-1", "address": "127.0.0.1", "port": public.port}],
            "app_version": "v1",
        }
        of_release = {**variables, "release_this": {"version": "v2"}}
        for entry in ("dark", "public", "main"):
            code, results = ansible.run(role(entry), **of_release)
            assert code == 0, ansible.output
            gates = {gate["name"]: gate for result in results for gate in result.get("gates", [])}
            assert next(iter(gates.values()))["limit"] == 'status 2xx, version "v2"'
        code, _ = ansible.run(role("declared"), **variables)
        assert code == 0, ansible.output
        # A rollback: the inventory already names another version.
        code, _ = ansible.run(role("public"), **{**of_release, "release_this": {"version": "v0"}})
        assert code == 2 and 'saw \\"v2\\", expected \\"v0\\"' in ansible.output, ansible.output


def test_report_of_every_moment(ansible: Ansible, tmp_path: Path) -> None:
    """report.json and junit.xml have value beside limit, of each moment, and what it was before."""
    release = {"system": "shop", "id": "20261121T210000Z-ab12cd3", "kind": "deploy", "version": "v2"}
    begin = {"answer": {"result": {"report": {"release": release}}}}
    reports = tmp_path / "reports"
    settings = {
        "ANSIBLE_STDOUT_CALLBACK": "slipway",
        "ANSIBLE_LIBRARY": f"{ROOT / 'library'}:{ROOT / 'tests/integration/report/library'}",
        "SLIPWAY_REPORT_DIR": str(reports),
    }
    one, edge = Release("v2"), Release("v2")
    with serve(one) as replica, serve(edge) as public:
        variables = {
            **DECLARED,
            "verify_base_url": "http://shop.test",
            "verify_connect_to": f"127.0.0.1:{public.port}",
            "verify_targets": [{"name": "web-1", "address": "127.0.0.1", "port": replica.port}],
        }
        moments = [role(name) for name in ("baseline", "dark", "public", "main")]
        code, _ = ansible.run(begin, *moments, settings=settings, **variables)
        assert code == 0, ansible.output
        report = json.loads((reports / "shop/latest/report.json").read_text())
        gates = {gate["name"]: gate for gate in report["gates"]}
        assert gates["version @ web-1"]["value"].endswith('version "v2"')
        assert gates["version @ web-1"]["limit"] == 'status 2xx, version "v2"'
        assert gates["only public"]["limit"] == "status 2xx"
        look = gates["look @ web-1: get /health"]
        assert look["value"].startswith('status 200, json status "healthy" in ')
        assert look["limit"] == 'status 2xx, json status "healthy"'
        p95 = gates["browse: p95"]
        assert p95["value"].endswith(" ms") and p95["limit"].startswith("at most ")
        assert p95["baseline"].endswith(" ms") and p95["timeline"]
        assert gates["browse: rps"]["limit"] == "at least 20/s"
        sections = report["sections"]
        assert {"baseline: browse", "public: browse", "demand: browse"} == set(sections["load"]["localhost"])
        moments_seen = {name.partition(":")[0] for name in sections["verification"]["localhost"]}
        assert moments_seen == {"dark", "public", "demand"}
        cases = {
            case.get("name"): case
            for case in ElementTree.parse(reports / "shop/latest/junit.xml").iter("testcase")
        }
        for name in ("version @ web-1", "version", "look: get /health", "browse: p95"):
            text = cases[f"{name} [localhost]"].findtext("system-out") or ""
            assert f"pass: value {gates[name]['value']}, limit {gates[name]['limit']}" in text

        one.version = "v1"
        code, _ = ansible.run(begin, role("dark"), settings=settings, **variables)
        assert code == 2
        failed = [
            case
            for case in ElementTree.parse(reports / "shop/latest/junit.xml").iter("testcase")
            if case.find("failure") is not None
        ]
        assert [case.get("name") for case in failed] == ["version @ web-1 [localhost]"]
        text = html.unescape(ElementTree.tostring(failed[0], encoding="unicode"))
        assert 'version "v1"' in text and 'version "v2"' in text


def test_role_without_baseline_warns(ansible: Ansible) -> None:
    with serve(Release("v2")) as public:
        variables = {**DECLARED, "verify_base_url": base(public)}
        code, _ = ansible.run(role("public"), **variables)
        assert code == 0 and "browse: p95 is inconclusive: there is no baseline" in ansible.output
        code, _ = ansible.run(role("public"), **variables, verify_inconclusive="fail")
        assert code == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verify_checks": [{"name": "x", "htpp": "/"}]}, "did you mean 'http'?"),
        ({"verify_checks": [{"name": "x", "http": "/", "at": "drak"}]}, "did you mean 'dark'?"),
        ({"verify_checks": []}, "an empty list verifies nothing"),
        ({"verify_flows": [{"flow": "f", "stpes": []}]}, "did you mean 'steps'?"),
        (
            {"verify_load": [{"name": "l", "routes": ["/"], "budgets": {"rsp": 1}, "requests": 1}]},
            "did you mean 'rps'?",
        ),
        ({"verify_load": [{"name": "l", "routes": ["/"]}]}, "either requests or duration"),
    ],
)
def test_role_finds_mistakes_before_the_release(ansible: Ansible, change: dict[str, Any], words: str) -> None:
    code, _ = ansible.run(role("declared"), **{**DECLARED, "verify_base_url": "http://shop.test", **change})
    assert code == 2 and words in ansible.output
