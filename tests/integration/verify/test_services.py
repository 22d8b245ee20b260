"""The kinds of checks against real PostgreSQL, Redis, RabbitMQ, nginx, Docker and systemd."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.masking.redactor import Redactor
from ansible.module_utils.slipway.verify.checks.run import Outcome, attempt, parse_checks
from verify_containers import PASSWORD, ROOT, Containers, docker, free_port, image, retried
from verify_servers import Authority

pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="needs Docker")


@pytest.fixture(scope="module")
def redis(start: Any) -> dict[str, Any]:
    port = free_port()
    command = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--requirepass", PASSWORD]
    command += ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]
    start("redis", "-p", f"127.0.0.1:{port}:6379", "slipway/redis:8", *command)
    return {"address": f"127.0.0.1:{port}", "password": PASSWORD}


@pytest.fixture(scope="module")
def rabbitmq(start: Any, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("rabbitmq")
    files = pem_files(authority, directory, "broker.test")
    (directory / "rabbitmq.conf").write_text(
        "listeners.ssl.default = 5671\nssl_options.certfile = /tls/cert.pem\nssl_options.keyfile = /tls/key.pem\n"
    )
    port, tls = free_port(), free_port()
    ports = ["-p", f"127.0.0.1:{port}:5672", "-p", f"127.0.0.1:{tls}:5671"]
    name = start(
        "rabbitmq", *ports, *files, "-e", "RABBITMQ_CONFIG_FILE=/tls/rabbitmq.conf", image("rabbitmq")
    )
    permit = " && ".join(
        f"rabbitmqctl set_permissions -p {host} app '.*' '.*' '.*'" for host in ("/", "shop")
    )
    add = f"rabbitmqctl await_startup && rabbitmqctl add_user app {PASSWORD} && rabbitmqctl add_vhost shop && {permit}"
    retried(["docker", "exec", name, "sh", "-c", add], 90)
    declare = 'rabbit_amqqueue:declare({resource,<<"/">>,queue,<<"jobs">>},true,false,[],none,<<"test">>).'
    docker("exec", name, "rabbitmqctl", "eval", declare)
    login = {"user": "app", "password": PASSWORD}
    return {"address": f"127.0.0.1:{port}", **login}


@pytest.fixture(scope="module")
def rabbitmq_tls(rabbitmq: dict[str, Any]) -> str:
    return docker("port", Containers.name("rabbitmq"), "5671/tcp")


@pytest.fixture
def check(check: Any) -> Any:
    """Until it passes where that is expected; one unhurried look where a `deadline` says it should fail."""

    def patient(**declared: Any) -> Any:
        if declared.pop("deadline", None) is None:
            return check(deadline=30.0, timeout=5.0, **declared)
        timeout = declared.pop("timeout", 10.0)
        (parsed,) = parse_checks([{"name": "it", **declared}], consecutive=1)
        outcome = Outcome(parsed)
        asyncio.run(attempt(outcome, timeout, Redactor()))
        return outcome

    return patient


def test_redis(check: Any, redis: dict[str, Any]) -> None:
    good = check(
        redis=redis,
        expect={
            "auth_required": True,
            "version": {"gte": 8},
            "role": "master",
            "memory": {"lt": "64MiB"},
            "memory_used": {"lt": "90%"},
            "evicted": 0,
            "policy": "allkeys-lru",
        },
    )
    assert good.ok, good.reason
    for expect, reason in (
        ({"policy": "noeviction"}, 'policy: saw "allkeys-lru", expected "noeviction"'),
        ({"memory_used": {"lt": "0.01%"}}, "memory_used: saw"),
        ({"hit_rate": {"gte": "60%"}}, "hit_rate: saw nothing"),
    ):
        assert reason in check(redis=redis, expect=expect, deadline=0.5).reason
    assert "WRONGPASS" in check(redis={**redis, "password": "wrong"}, deadline=0.5).reason
    assert "NOAUTH" in check(redis={"address": redis["address"]}, deadline=0.5).reason


def test_redis_that_is_used(check: Any, fails: Any, start: Any) -> None:
    port = free_port()
    limits = ["--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru"]
    open_to_all = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no"]
    name = start("busy-redis", "-p", f"127.0.0.1:{port}:6379", "slipway/redis:8", *open_to_all, *limits)
    address = f"127.0.0.1:{port}"
    assert check(redis=address).ok
    assert "hit_rate: saw nothing" in fails(redis=address, expect={"hit_rate": {"gte": "1%"}})
    work = """
    redis-cli set there 1; redis-cli -r 150 get there; redis-cli -r 50 get missing
    i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo "setrange key:$i 100000 x"; done | redis-cli
    """
    docker("exec", name, "sh", "-c", work)
    good = check(redis=address, expect={"hit_rate": {"gte": "70%", "lte": "80%"}, "evicted": {"gt": 0}})
    assert good.ok, good.reason
    assert "hit_rate: saw 75" in fails(redis=address, expect={"hit_rate": {"gte": "90%"}})
    assert "evicted: saw" in fails(redis=address, expect={"evicted": 0})
    assert "connected_replicas: saw 0" in fails(redis=address, expect={"connected_replicas": 1})

    inside = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)
    second = free_port()
    follow = [*open_to_all, "--replicaof", inside, "6379", *limits]
    start("redis-replica", "-p", f"127.0.0.1:{second}:6379", "slipway/redis:8", *follow)
    assert check(redis=address, expect={"connected_replicas": 1, "role": "master"}).ok
    assert check(redis=f"127.0.0.1:{second}", expect={"role": "slave"}).ok
    assert 'role: saw "slave"' in fails(redis=f"127.0.0.1:{second}", expect={"role": "master"})


def pem_files(authority: Authority, directory: Path, name: str) -> list[str]:
    """Options of `docker run` that put a certificate and its key where a server may read them."""
    directory.chmod(0o755)
    for source, target in zip(authority.issue(name), ("cert.pem", "key.pem")):
        (directory / target).write_bytes(source.read_bytes())
        (directory / target).chmod(0o644)
    return ["-v", f"{directory}:/tls:ro"]


def test_redis_over_tls_as_a_user(
    check: Any, fails: Any, start: Any, authority: Authority, tmp_path: Path
) -> None:
    port = free_port()
    command = ["redis-server", "--bind", "0.0.0.0", "--port", "0", "--tls-port", "6379", "--user"]
    command += ["app", "on", f">{PASSWORD}", "~*", "+ping", "+info", "--user", "default", "off"]
    command += ["--tls-cert-file", "/tls/cert.pem", "--tls-key-file", "/tls/key.pem"]
    files = pem_files(authority, tmp_path, "redis.test")
    start(
        "tls-redis",
        "-p",
        f"127.0.0.1:{port}:6379",
        *files,
        "slipway/redis:8",
        *command,
        "--tls-auth-clients",
        "no",
    )
    redis = {"address": f"127.0.0.1:{port}", "username": "app", "password": PASSWORD, "tls": True}
    tls = {**redis, "server_name": "redis.test", "ca_file": str(authority.ca_file)}
    good = check(redis=tls, expect={"auth_required": True, "version": {"gte": 8}})
    assert good.ok, good.reason
    assert "certificate not accepted" in fails(redis={**tls, "server_name": "other.test"})
    assert "certificate not accepted" in fails(redis={**redis, "server_name": "redis.test"})
    assert "WRONGPASS" in fails(redis={**tls, "username": "default"})
    assert fails(redis={**redis, "tls": False}, timeout=1.0)


def test_redis_that_lets_anybody_in(check: Any, start: Any) -> None:
    port = free_port()
    start("open-redis", "-p", f"127.0.0.1:{port}:6379", "slipway/redis:8")
    assert check(redis=f"127.0.0.1:{port}").ok
    outcome = check(redis=f"127.0.0.1:{port}", expect={"auth_required": True}, deadline=0.5)
    assert "auth_required: saw false, expected true" in outcome.reason


def test_rabbitmq(check: Any, rabbitmq: dict[str, Any]) -> None:
    good = check(amqp=rabbitmq, expect={"product": "RabbitMQ", "version": {"gte": "3.8"}, "queues": ["jobs"]})
    assert good.ok, good.reason
    queues = {"jobs": {"messages": {"lt": 1}, "consumers": {"gte": 1}}, "missing": {"messages": 0}}
    outcome = check(amqp=rabbitmq, expect={"queues": queues}, deadline=1.0)
    assert "queue jobs consumers: saw 0, expected at least 1" in outcome.reason
    assert "queue missing messages: the broker refused: 404 NOT_FOUND" in outcome.reason
    assert "connection closed" in check(amqp={**rabbitmq, "password": "wrong"}, deadline=6.0).reason
    assert "refused: 530 NOT_ALLOWED" in check(amqp={**rabbitmq, "vhost": "nowhere"}, deadline=1.0).reason


def test_rabbitmq_over_tls_in_a_virtual_host(
    check: Any, fails: Any, rabbitmq: dict[str, Any], rabbitmq_tls: str, authority: Authority
) -> None:
    assert check(amqp={**rabbitmq, "vhost": "shop"}).ok
    tls = {**rabbitmq, "address": rabbitmq_tls, "tls": True, "ca_file": str(authority.ca_file)}
    good = check(amqp={**tls, "server_name": "broker.test"}, expect={"queues": {"jobs": {"messages": 0}}})
    assert good.ok, good.reason
    assert "certificate not accepted" in fails(amqp={**tls, "server_name": "other.test"})
    assert 'product: saw "RabbitMQ"' in fails(amqp=rabbitmq, expect={"product": "Qpid"})
    assert "version: saw" in fails(amqp=rabbitmq, expect={"version": {"gte": 99}})


@pytest.fixture(scope="module")
def dnsmasq(start: Any) -> str:
    port = free_port()
    start("dnsmasq", "-p", f"127.0.0.1:{port}:53/udp", image("dnsmasq"))
    return f"127.0.0.1:{port}"


def test_dns_server(check: Any, fails: Any, dnsmasq: str) -> None:
    def ask(name: str, kind: str = "A") -> dict[str, Any]:
        return {"name": name, "type": kind, "server": dnsmasq}

    for kind, name, records in (
        ("A", "shop.test", ["10.0.0.2", "10.0.0.1"]),
        ("AAAA", "shop.test", ["fd00::1"]),
        ("CNAME", "www.shop.test", ["shop.test"]),
        ("MX", "shop.test", ["10 mail.shop.test"]),
        ("TXT", "shop.test", ["v=spf1 -all"]),
    ):
        good = check(dns=ask(name, kind), expect={"records": records, "count": len(records)})
        assert good.ok, good.reason
    assert check(dns=ask("WWW.shop.test"), expect={"records": {"contains": "10.0.0.1"}}).ok
    assert 'records: saw ["10.0.0.1", "10.0.0.2"]' in fails(
        dns=ask("shop.test"), expect={"records": ["10.0.0.1"]}
    )
    assert "count: saw 2, expected 3" in fails(dns=ask("shop.test"), expect={"count": 3})
    assert "resolves: saw false" in fails(dns=ask("gone.test"))
    assert check(dns=ask("gone.test"), expect={"resolves": False}).ok
    assert "resolves: saw true, expected false" in fails(dns=ask("shop.test"), expect={"resolves": False})
    # A name without a record of the type is no error of the server, and no record either.
    assert "resolves: saw false" in fails(dns=ask("shop.test", "CNAME"))
    nobody = {"name": "shop.test", "server": "127.0.0.1:1"}
    assert "cannot be reached" in fails(dns=nobody, timeout=2.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        silent = f"127.0.0.1:{mute.getsockname()[1]}"
        assert f"still waiting for {silent}" in fails(dns={**nobody, "server": silent}, timeout=0.5)


def test_kinds_of_servers_are_not_confused(check: Any, redis: dict[str, Any]) -> None:
    assert check(redis=redis).ok
    address = redis["address"]
    for declared, reason in (
        ({"http": f"http://{address}/"}, "connection closed"),
        ({"amqp": address}, "waiting for the broker"),
        ({"mongodb": address}, "MongoDB"),
        ({"tls": address}, "TLS"),
    ):
        outcome = check(**declared, deadline=1.0, timeout=0.8)
        assert not outcome.ok and reason in outcome.reason, outcome.reason


def test_container(check: Any, start: Any, redis: dict[str, Any]) -> None:
    name = start.name("redis")
    assert check(redis=redis).ok
    good = check(container=name, expect={"healthy": True, "restarts": 0, "image": "slipway/redis:8"})
    assert good.ok, good.reason
    digest = docker("inspect", "--format", "{{.Image}}", name)
    assert check(container=name, expect={"image": digest}, deadline=1.0).ok
    for expect, reason in (
        ({"image": "slipway/redis:7"}, "image: saw"),
        ({"memory_limit": True}, "memory_limit: saw 0"),
        ({"memory_limit": {"gte": "64MiB"}}, "memory_limit: saw 0, expected at least 64MiB"),
        ({"count": 2}, "count: saw 1, expected 2"),
    ):
        assert reason in check(container=name, expect=expect, deadline=0.5).reason
    assert "no such container" in check(container="verify-test-none", deadline=0.5).reason
    none = check(container={"project": "verify-none", "service": "web"}, deadline=0.5)
    assert "no container of verify-none/web exists" in none.reason
    refused = check(container={"name": name, "socket": "/nowhere.sock"}, deadline=0.5)
    assert "cannot connect to /nowhere.sock" in refused.reason


def test_containers_of_a_service(check: Any, start: Any) -> None:
    labels = ["--label", "com.docker.compose.project=verify-p", "--label", "com.docker.compose.service=web"]
    start("web-1", *labels, "--memory", "64m", "slipway/debian:13", "sleep", "600")
    start("web-2", *labels, "slipway/debian:13", "sh", "-c", "exit 3")
    start("web-run", *labels, "--label", "com.docker.compose.oneoff=True", "slipway/debian:13", "true")
    service = {"project": "verify-p", "service": "web"}
    outcome = check(
        container=service, expect={"count": 2, "running": True, "memory_limit": True}, deadline=1.5
    )
    assert 'running: saw "exited (exit code 3)"' in outcome.reason
    assert "memory_limit: saw 0" in outcome.reason and "count" not in outcome.reason
    one = start.name("web-1")
    healthy = check(container=one, expect={"healthy": True}, deadline=0.5)
    assert "it has no health check" in healthy.reason
    assert check(container=one, expect={"memory_limit": "64MiB"}, deadline=1.0).ok


def test_a_container_that_is_ill_or_restarts(check: Any, fails: Any, start: Any) -> None:
    command = "--health-cmd=echo pool exhausted; false"
    start(
        "ill", command, "--health-interval=100ms", "--health-retries=1", "slipway/debian:13", "sleep", "600"
    )
    start("restless", "--restart=always", "slipway/debian:13", "sh", "-c", "exit 3")
    ill, restless = start.name("ill"), start.name("restless")
    assert check(container=ill, expect={"running": True}).ok
    end = time.monotonic() + 20
    while "unhealthy: pool exhausted" not in (reason := fails(container=ill, expect={"healthy": True})):
        assert time.monotonic() < end, reason
        time.sleep(0.1)
    while "restarts: saw" not in (reason := fails(container=restless, expect={"restarts": {"lt": 1}})):
        assert time.monotonic() < end, reason
        time.sleep(0.1)


NGINX = """
daemon off; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  gzip on; gzip_types *; gzip_min_length 1;
  ssl_certificate {cert}; ssl_certificate_key {key};
  server {{
    listen 127.0.0.1:{modern} ssl; server_name shop.test; ssl_protocols TLSv1.2 TLSv1.3;
    add_header Strict-Transport-Security "max-age=63072000" always;
    location = /health {{ default_type application/json; return 200 '{{"status":"up","host":"$host"}}'; }}
    location = /contact.html {{ return 301 https://$host/contact; }}
    absolute_redirect off;
    location = /scan {{ return 307 /landing?code=BC001; }}
  }}
  server {{
    listen 127.0.0.1:{old} ssl; server_name shop.test; ssl_protocols TLSv1 TLSv1.1 TLSv1.2;
    ssl_ciphers ALL:@SECLEVEL=0; location / {{ return 204; }}
  }}
}}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[dict[str, Any]]:
    if shutil.which("nginx") is None:
        pytest.skip("needs nginx")
    directory = tmp_path_factory.mktemp("nginx")
    directory.chmod(0o755)
    cert, key = authority.issue("shop.test")
    modern, old = free_port(), free_port()
    settings = {"directory": directory, "cert": cert, "key": key, "modern": modern, "old": old}
    (directory / "nginx.conf").write_text(NGINX.format(**settings))
    process = subprocess.Popen(
        ["nginx", "-c", str(directory / "nginx.conf"), "-e", str(directory / "early.log")]
    )
    end = time.monotonic() + 10
    with socket.socket() as probe:
        while probe.connect_ex(("127.0.0.1", modern)):
            said = (directory / "early.log").read_text() if (directory / "early.log").exists() else ""
            assert process.poll() is None and time.monotonic() < end, f"nginx never came up: {said}"
            time.sleep(0.05)
    yield {**settings, "ca_file": str(authority.ca_file)}
    process.terminate()
    process.wait()


def test_nginx_over_tls_with_name_and_address_apart(check: Any, nginx: dict[str, Any]) -> None:
    def ask(path: str, **expect: Any) -> Any:
        http = {
            "url": f"https://shop.test{path}",
            "connect_to": f"127.0.0.1:{nginx['modern']}",
            "ca_file": nginx["ca_file"],
        }
        return check(http=http, expect=expect, deadline=3.0)

    hsts = {"strict-transport-security": {"matches": "max-age=[0-9]{8}"}}
    good = ask("/health", json={"status": "up", "host": "shop.test"}, header=hsts, latency="1s")
    assert good.ok, good.reason
    assert {"connect", "tls", "first_byte"} <= set(good.phases)
    assert (
        ask("/contact.html", status=301, redirect="https://shop.test/contact").ok
        or ask("/contact.html", redirect="/contact").ok
    )
    assert ask("/scan", status=307, redirect="/landing?code=BC001").ok
    assert "status: saw 307, expected 302" in ask("/scan", status=302).reason
    assert "latency: saw" in ask("/health", latency="1us").reason


def test_tls_protocols(check: Any, nginx: dict[str, Any]) -> None:
    protocols = {"accepted": ["TLSv1.2", "TLSv1.3"], "refused": ["TLSv1", "TLSv1.1"]}

    def ask(port: int) -> Any:
        tls = {
            "address": f"127.0.0.1:{port}",
            "server_name": "shop.test",
            "ca_file": nginx["ca_file"],
            "cert_file": str(nginx["cert"]),
            "key_file": str(nginx["key"]),
        }
        expect = {
            "protocols": protocols,
            "key_matches": True,
            "certificate_matches": True,
            "days_left": {"gte": 30},
        }
        return check(tls=tls, expect=expect, deadline=3.0)

    good = ask(nginx["modern"])
    assert good.ok, good.reason
    bad = ask(nginx["old"])
    assert 'TLSv1.3: saw "refused", expected "accepted"' in bad.reason
    assert 'TLSv1: saw "accepted", expected "refused"' in bad.reason
    assert 'TLSv1.1: saw "accepted", expected "refused"' in bad.reason


ON_HOST = """
import asyncio, json, sys
sys.path.insert(0, '/slipway')
from slipway.verify.checks.run import parse_checks, run_checks, summary
from slipway.masking.redactor import Redactor
checks = parse_checks(json.load(sys.stdin), interval=0.2, consecutive=1)
print(json.dumps(summary(asyncio.run(run_checks(checks, 5.0)), Redactor())))
"""


def test_on_a_host_with_systemd_and_nothing_but_python(start: Any) -> None:
    name = start(
        "host", "--privileged", "--cgroupns=private", "--tmpfs", "/run", "--tmpfs", "/tmp", "slipway/host:13"
    )
    docker("exec", name, "mkdir", "/slipway")
    docker("cp", str(ROOT / "module_utils" / "slipway"), f"{name}:/slipway/slipway")
    end = time.monotonic() + 60
    while (
        "degraded"
        not in (
            state := subprocess.run(
                ["docker", "exec", name, "systemctl", "is-system-running"],
                capture_output=True,
                text=True,
                check=False,
            ).stdout
        )
        and "running" not in state
    ):
        assert time.monotonic() < end, f"systemd never came up: {state}"
        time.sleep(0.5)
    docker("exec", name, "systemd-run", "--unit", "steady", "sleep", "600")
    docker("exec", name, "sh", "-c", "systemd-run --unit broken -p Restart=no false; true")
    restart = "-p Restart=always -p RestartSec=10ms -p StartLimitBurst=2"
    docker("exec", name, "sh", "-c", f"systemd-run --unit restless {restart} false; true")
    declared = [
        {"name": "steady", "systemd": "steady.service", "expect": {"active": "active", "restarts": 0}},
        {"name": "broken", "systemd": "broken.service"},
        {"name": "missing", "systemd": "missing.service"},
        {"name": "sub", "systemd": "steady.service", "expect": {"sub": "running", "result": "success"}},
        {"name": "dead", "systemd": "broken.service", "expect": {"active": "failed", "result": "exit-code"}},
        {"name": "wrong sub", "systemd": "broken.service", "expect": {"sub": "running"}},
        {
            "name": "restless",
            "systemd": "restless.service",
            "expect": {"restarts": 0, "active": {"exists": True}},
        },
        {"name": "enabled", "systemd": "systemd-journald.service", "expect": {"enabled": "static"}},
        {"name": "not enabled", "systemd": "systemd-journald.service", "expect": {"enabled": "enabled"}},
        {"name": "disk", "disk": "/", "expect": {"free_percent": {"gte": 1}, "free": {"gte": "1MiB"}}},
        {"name": "inodes", "disk": "/run", "expect": {"inodes_free_percent": {"gte": 1}}},
        {"name": "no inodes", "disk": "/run", "expect": {"inodes_free_percent": {"gt": 100}}},
        {"name": "share", "disk": "/", "expect": {"free_percent": {"gt": 100}}},
        {"name": "full", "disk": "/", "expect": {"free": {"gte": "900TB"}}},
        {"name": "no path", "disk": "/nowhere"},
        {"name": "localhost", "dns": "localhost", "expect": {"records": {"contains": "127.0.0.1"}}},
        {"name": "gone", "dns": "no-such-name.invalid", "expect": {"resolves": False}},
        {"name": "elsewhere", "dns": "localhost", "expect": {"records": ["192.0.2.1"]}},
    ]
    run = subprocess.run(
        ["docker", "exec", "-i", name, "python3", "-c", ON_HOST],
        input=json.dumps(declared),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(run.stdout)
    good = [name for name, result in found["checks"].items() if result["ok"]]
    assert good == ["steady", "sub", "dead", "enabled", "disk", "inodes", "localhost", "gone"], found["msg"]
    reasons = {name: result["reason"] for name, result in found["checks"].items()}
    assert 'sub: saw "failed", expected "running"' in reasons["wrong sub"]
    assert 'enabled: saw "static", expected "enabled"' in reasons["not enabled"]
    assert "restarts: saw" in reasons["restless"]
    assert "inodes_free_percent: saw" in reasons["no inodes"] and "free_percent: saw" in reasons["share"]
    assert 'active: saw "failed", expected "active"' in reasons["broken"]
    assert "there is no unit missing.service" in found["checks"]["missing"]["reason"]
    assert "No such file" in found["checks"]["no path"]["reason"]
    assert "records: saw" in found["checks"]["elsewhere"]["reason"]
