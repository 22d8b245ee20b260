"""The check kinds `clickhouse`, against ClickHouse, and `mongodb`, against what its own driver takes for a MongoDB."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from verify_containers import PASSWORD, free_port, image, retried
from verify_servers import Authority, always, serve

pytestmark = pytest.mark.skipif(shutil.which("docker") is None, reason="needs Docker")


@pytest.fixture(scope="module")
def clickhouse(start: Any) -> dict[str, Any]:
    port = free_port()
    secret = f"CLICKHOUSE_PASSWORD={PASSWORD}"
    start("clickhouse", "-p", f"127.0.0.1:{port}:8123", "-e", secret, image("clickhouse", "debian:12"))
    return {"url": f"http://127.0.0.1:{port}", "password": PASSWORD}


def test_clickhouse(passes: Any, clickhouse: dict[str, Any]) -> None:
    passes(clickhouse=clickhouse["url"])
    passes(
        clickhouse={**clickhouse, "user": "default", "database": "system"},
        expect={
            "ping": True,
            "version": {"gte": "18.16", "lt": "18.17"},
            "rows": {
                "select count() from databases": {"gte": 2},
                "select 'a text'": "a text",
                "select 1.5": 1.5,
                "select 1 where 0": {"exists": False},
            },
        },
    )


@pytest.mark.parametrize(
    ("change", "expect", "reason"),
    [
        ({}, {"version": {"gte": 24}}, "version: saw"),
        ({}, {"rows": {"select 1": 2}}, "row select 1: saw 1, expected 2"),
        ({}, {"rows": {"select 1 where 0": 1}}, "saw nothing, expected 1"),
        ({}, {"rows": {"selct 1": 1}}, "answered 400: Code: 62"),
        ({}, {"rows": {"select 1 from nowhere": 1}}, "Table default.nowhere doesn't exist"),
        ({}, {"rows": {"create table t (a Int8) engine = Memory": 1}}, "readonly"),
        ({}, {"rows": {"select sleep(3)": 0}}, "no complete answer within 1 s"),
        ({"password": "wrong"}, {"version": {"gte": 1}}, "Wrong password for user default"),
        ({"user": "nobody"}, {"version": {"gte": 1}}, "Unknown user nobody"),
        ({"database": "none"}, {"rows": {"select 1": 1}}, "Database none doesn't exist"),
        ({"url": "http://127.0.0.1:1"}, None, "Connection refused"),
    ],
)
def test_clickhouse_gone_wrong(
    passes: Any, fails: Any, clickhouse: dict[str, Any], change: Any, expect: Any, reason: str
) -> None:
    passes(clickhouse=clickhouse)
    limit = 1.0 if "sleep" in str(expect) else 10.0
    assert reason in fails(clickhouse={**clickhouse, **change}, expect=expect, timeout=limit)


DRIVER = """
import os, pymongo
client = pymongo.MongoClient("127.0.0.1", 27017, username="app", password=os.environ["PASSWORD"],
                             directConnection=True, serverSelectionTimeoutMS=3000)
client.admin.command("ping")
print(client.server_info()["version"])
"""


@pytest.fixture(scope="module")
def mongodb(start: Any) -> Any:
    built = image("mongodb")
    ports: dict[str, int] = {}

    def member(role: str, *options: str) -> dict[str, Any]:
        if role not in ports:
            ports[role] = free_port()
            arguments = ["-e", f"PASSWORD={PASSWORD}", "-e", f"ROLE={role}", *options]
            name = start(f"mongodb-{role}", "-p", f"127.0.0.1:{ports[role]}:27017", *arguments, built)
            if not options:
                # The control: MongoDB's own driver logs in and finds its way about.
                assert retried(["docker", "exec", name, "python3", "-c", DRIVER], 20).strip() == "7.0.12"
        return {"address": f"127.0.0.1:{ports[role]}", "user": "app", "password": PASSWORD}

    return member


@pytest.mark.parametrize("role", ["primary", "secondary", "standalone", "router"])
def test_mongodb(passes: Any, fails: Any, mongodb: Any, role: str) -> None:
    server = mongodb(role)
    in_set = {"replica_set": "rs0"} if role in ("primary", "secondary") else {}
    passes(mongodb=server, expect={"ping": True, "role": role, "version": {"gte": 7, "lt": 8}, **in_set})
    other = "secondary" if role == "primary" else "primary"
    assert f'role: saw "{role}", expected "{other}"' in fails(mongodb=server, expect={"role": other})


def test_mongodb_gone_wrong(passes: Any, fails: Any, mongodb: Any) -> None:
    server = mongodb("standalone")
    passes(mongodb=server)
    passes(mongodb=server["address"])  # a ping needs no login
    assert "version: saw" in fails(mongodb=server, expect={"version": {"gte": 8}})
    assert "replica_set: saw nothing" in fails(mongodb=server, expect={"replica_set": "rs0"})
    for change in ({"password": "wrong"}, {"user": "nobody"}, {"auth_source": "other"}):
        assert "Authentication failed" in fails(mongodb={**server, **change})
    anonymous = {"address": server["address"]}
    assert "requires authentication" in fails(mongodb=anonymous, expect={"version": {"gte": 7}})
    assert "Connection refused" in fails(mongodb="127.0.0.1:1")
    for rubbish in (b"", b"\xff" * 400, b"\x20\0\0\0" + b"\0" * 8 + b"\xdd\x07\0\0" + b"\xff" * 16):
        with serve(always(rubbish)) as other:
            assert fails(mongodb=f"127.0.0.1:{other.port}", timeout=0.5)


def test_mongodb_over_tls(
    passes: Any, fails: Any, mongodb: Any, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("mongo.test")
    pem = tmp_path / "server.pem"
    pem.write_bytes(certificate.read_bytes() + key.read_bytes())
    pem.chmod(0o644)
    server = mongodb("tls", "-e", "TLS=/server.pem", "-v", f"{pem}:/server.pem:ro")
    tls = {**server, "tls": True, "server_name": "mongo.test", "ca_file": str(authority.ca_file)}
    passes(mongodb=tls)
    assert "Hostname mismatch" in fails(mongodb={**tls, "server_name": "other.test"})
    assert fails(mongodb=server, timeout=1.0)
