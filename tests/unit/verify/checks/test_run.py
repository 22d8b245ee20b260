"""Declarations of checks, and the parsers of the protocols they speak."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import struct
import uuid
from decimal import Decimal
from typing import Any

import pytest
from ansible.module_utils.slipway.masking.redactor import Redactor
from ansible.module_utils.slipway.verify.checks import amqp, dns, mongodb, postgres, redis, tls
from ansible.module_utils.slipway.verify.checks.base import truth
from ansible.module_utils.slipway.verify.checks.run import parse_checks
from ansible.module_utils.slipway.verify.http.client import Trace, parse_address, parse_url
from ansible.module_utils.slipway.verify.http.wire import HttpError
from ansible.module_utils.slipway.verify.predicates import MISSING, SpecError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ([], "checks nothing"),
        (None, "checks nothing"),
        ([{"http": "http://x/"}], "name is required"),
        ([{"name": "a"}], "exactly one kind is needed, found none"),
        ([{"name": "a", "htpp": "http://x/"}], "did you mean 'http'"),
        ([{"name": "a", "http": "http://x/", "tcp": "x:1"}], "found http and tcp"),
        ([{"name": "a", "http": {"ulr": "http://x/"}}], "did you mean 'url'"),
        ([{"name": "a", "http": {}}], "'url' is required"),
        ([{"name": "a", "http": "ftp://x/"}], "not an http"),
        ([{"name": "a", "http": "http://x/", "expect": {}}], "at least one expectation"),
        ([{"name": "a", "http": "http://x/", "expect": {"stauts": 200}}], "did you mean 'status'"),
        ([{"name": "a", "http": "http://x/", "expect": {"json": {}}}], "at least one entry"),
        ([{"name": "a", "http": "http://x/", "expect": {"json": {"a": {}}}}], "asserts nothing"),
        ([{"name": "a", "http": "http://x/", "severity": "bad"}], "neither critical nor warning"),
        ([{"name": "a", "http": "http://x/", "consecutive": 0}], "at least 1"),
        ([{"name": "a", "http": "http://x/", "timeout": "soon"}], "not a duration"),
        ([{"name": "a", "http": "http://x/"}, {"name": "a", "disk": "/"}], "a second check is called"),
        ([{"name": "a", "tcp": "host"}], "needs a port"),
        (
            [{"name": "a", "tls": "x:443", "expect": {"protocols": {"accepted": ["TLSv1.4"]}}}],
            "unknown key 'TLSv1.4'",
        ),
        ([{"name": "a", "tls": "x:443", "expect": {"key_matches": True}}], "needs cert_file and key_file"),
        ([{"name": "a", "container": {"project": "p"}}], "either name, or project and service"),
        ([{"name": "a", "dns": {"name": "x", "type": "AAA"}}], "is no type"),
        ([{"name": "a", "postgres": {"pasword": "x"}}], "did you mean 'password'"),
        ([{"name": "a", "postgres": {}, "expect": {"rows": {}}}], "at least one entry"),
        ([{"name": "a", "amqp": "x", "expect": {"queues": {"q": {"mesages": 1}}}}], "unknown key 'mesages'"),
        ([{"name": "a", "http": {"url": "http://x/", "headers": {"A": "b\nc"}}}], "line break"),
        (["http://x/"], "must be a mapping"),
        ([{"name": "a", "http": "http://x/", "expect": None}], "at least one expectation"),
        ([{"name": "a", "http": "http://x/", "expect": []}], "at least one expectation"),
        ([{"name": "a", "http": "http://{{ domain }}/"}], "{{ domain }} was not filled in"),
        ([{"name": "a", "http": "http://x/", "timeout": 0}], "a.timeout: must be more than nothing"),
        ([{"name": "a", "http": "http://x/", "interval": "0s"}], "a.interval: must be more than nothing"),
        ([{"name": "a", "http": "http://x/", "timeout": -1}], "a.timeout: -1 is not a duration"),
        ([{"name": "a", "http": "http://x/", "timeout": float("inf")}], "is not a duration"),
        (
            [{"name": "a", "http": "http://x/", "consecutive": True}],
            "a.consecutive: true is not a whole number",
        ),
        ([{"name": "a", "http": "http://x/", "consecutive": 2.5}], "2.5 is not a whole number"),
        ([{"name": "a", "http": "http://x/", "consecutive": None}], "null is not a whole number"),
        ([{"name": "a", "http": {"url": "http://x/", "follow": -1}}], "follow: must be at least 0"),
        ([{"name": "a", "http": {"url": "http://x/", "follow": True}}], "follow: true is not a whole number"),
        (
            [{"name": "a", "http": {"url": "http://x/", "max_body": float("inf")}}],
            "max_body: inf is not a size",
        ),
        ([{"name": "a", "http": {"url": "http://x/", "validate_certs": "maybe"}}], "neither true nor false"),
        ([{"name": "a", "http": "http://x/", "expect": {"status": True}}], "is not a status"),
        ([{"name": "a", "http": "http://x/", "expect": {"status": "20"}}], "is not a status"),
        ([{"name": "a", "http": "http://x/", "expect": {"latency": "fast"}}], "not a duration"),
        ([{"name": "a", "http": "http://x/", "expect": {"latency": {"lte": None}}}], "not a duration"),
        ([{"name": "a", "postgres": {}, "expect": {"connections_free": {"gte": "nan"}}}], "not a percentage"),
        ([{"name": "a", "postgres": {"port": "five"}}], 'port: "five" is not a whole number'),
        ([{"name": "a", "disk": None}], "'path' is required"),
        ([{"name": "a", "http": {"url": None}}], "'url' is required"),
        ([{"name": "a", "http": ["http://x/"]}], "is not an http"),
        # What could never hold, and what could never fail.
        ([{"name": "a", "http": "http://x/", "expect": {"body": ""}}], "every text contains the empty one"),
        ([{"name": "a", "http": "http://x/", "expect": {"body": None}}], "null is no text"),
        ([{"name": "a", "http": "http://x/", "expect": {"body": {"not_contains": ""}}}], "the empty one"),
        ([{"name": "a", "http": "http://x/", "expect": {"body": {"matches": ""}}}], "matches with nothing"),
        (
            [{"name": "a", "http": "http://x/", "expect": {"json": {"a": {"starts_with": ""}}}}],
            "with nothing",
        ),
        ([{"name": "a", "http": "http://x/", "expect": {"json": {"a": {"matches": None}}}}], "with nothing"),
        ([{"name": "a", "http": "http://x/", "expect": {"header": {"x": None}}}], "exists: false"),
        ([{"name": "a", "http": "http://x/", "expect": {"redirect": None}}], "null is no text"),
        ([{"name": "a", "http": "http://x/", "expect": {"version": None}}], "no version is given"),
        ([{"name": "a", "tls": "x", "expect": {"protocols": {"accepted": []}}}], "at least one of TLSv1,"),
        (
            [{"name": "a", "tls": "x", "expect": {"protocols": {"accepted": ["TLSv1.3"], "refused": None}}}],
            "refused: must be a list",
        ),
        ([{"name": "a", "tls": "x", "expect": {"trusted": "maybe"}}], "neither true nor false"),
        (
            [{"name": "a", "tcp": "x:1", "expect": {"open": False, "banner": "220"}}],
            "closed port has no banner",
        ),
        ([{"name": "a", "tcp": "x:1", "expect": {"banner": None}}], "null is no text"),
        (
            [{"name": "a", "dns": "x", "expect": {"resolves": False, "records": ["10.0.0.1"]}}],
            "has no records",
        ),
        ([{"name": "a", "redis": "x", "expect": {"ping": False}}], "can only be true"),
        ([{"name": "a", "postgres": {}, "expect": {"connect": "no"}}], "can only be true"),
    ],
)
def test_mistakes(checks: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse_checks(checks)


def test_what_is_empty_and_makes_sense_is_taken() -> None:
    expect = {"body": {"eq": ""}, "header": {"x": ""}, "json": {"a": None, "tags": {"not_contains": ""}}}
    assert parse_checks([{"name": "a", "http": "http://x/", "expect": expect}])


@pytest.mark.parametrize(
    ("expected", "value", "held"),
    [
        (True, True, True),
        (True, "exited (exit code 1)", False),
        (False, "exited (exit code 1)", True),
        (False, True, False),
        ("false", "exited (exit code 1)", True),
        ({"eq": False}, "exited (exit code 1)", True),
        ({"ne": True}, "exited (exit code 1)", True),
        ({"ne": True}, True, False),
        ({"contains": "exited"}, "exited (exit code 1)", True),
        (False, MISSING, False),
    ],
)
def test_words_that_say_why_not_are_a_no(expected: Any, value: Any, held: bool) -> None:
    assert (truth(expected, "it").failure(value) is None) is held


@pytest.mark.parametrize(
    ("states", "expected", "held"),
    [
        (["running", "running"], True, True),
        (["running", "exited"], True, False),
        (["exited", "exited"], False, True),
        # All of them are meant, whichever way.
        (["running", "exited"], False, False),
        (["exited", "running"], "false", False),
    ],
)
def test_containers_run_or_do_not(
    states: list[str], expected: Any, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = {"project": "shop", "service": "web"}
    (check,) = parse_checks([{"name": "a", "container": service, "expect": {"running": expected}}])

    async def ask(path: str, *_more: Any) -> Any:
        if path.startswith("/containers/json"):
            return [{"Id": str(number)} for number in range(len(states))]
        state = {"Status": states[int(path.split("/")[2])], "ExitCode": 1}
        return {
            "State": state,
            "RestartCount": 0,
            "HostConfig": {"Memory": 0},
            "Config": {"Image": "web"},
            "Image": "sha256:1",
        }

    monkeypatch.setattr(check.kind, "_ask", ask)
    facts = asyncio.run(check.kind.look(Trace(), 1.0))
    assert (check.kind.judge(facts, Redactor()) == []) is held


def test_all_mistakes_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_checks([{"name": "a", "htpp": "x"}, {"name": "b", "disk": {"pth": "/"}, "expect": {"fre": 1}}])
    assert (
        len(caught.value.problems) == 5
    )  # unknown kind, no kind, unknown option, missing option, unknown expectation


def test_every_kind_has_a_sound_shortest_form() -> None:
    shortest = {
        "http": "http://shop.test/health",
        "tcp": "db:5432",
        "dns": "shop.test",
        "tls": "shop.test",
        "postgres": "postgresql://app@db/shop",
        "redis": "cache",
        "container": "web-1",
        "systemd": "nginx.service",
        "disk": "/",
        "amqp": "broker",
        "mongodb": "mongo",
        "clickhouse": "http://ch:8123",
        "prometheus": "http://prom:9090",
    }
    checks = parse_checks([{"name": kind, kind: value} for kind, value in shortest.items()])
    assert all(check.kind.clauses for check in checks)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a:1", ("a", 1)),
        ("[::1]:80", ("::1", 80)),
        ("::1", ("::1", 9)),
        ("[fe80::1%eth0]", ("fe80::1%eth0", 9)),
        ("10.0.0.1", ("10.0.0.1", 9)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, 9) == address


@pytest.mark.parametrize("text", ["", "a:b", "a:99999", "http://x", "a b:1", "[::1", "::1"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(SpecError):
        parse_address(text)


def test_urls() -> None:
    url = parse_url("https://joe:pw@shop.test:8443/a?b=c#d")
    assert (url.netloc, url.target, url.userinfo) == ("shop.test:8443", "/a?b=c", "joe:pw")
    assert str(parse_url("http://[::1]:80/ü")) == "http://[::1]/%C3%BC"
    for wrong in ("shop.test", "http://", "http://x:99999/", "http://x/a b", "file:///etc/passwd"):
        with pytest.raises(SpecError):
            parse_url(wrong)


def dns_answer(records: bytes, count: int, flags: int = 0x8180) -> bytes:
    question = b"\x04shop\x04test\0" + struct.pack(">HH", 1, 1)
    return struct.pack(">HHHHHH", 7, flags, 1, count, 0, 0) + question + records


def test_dns_answers() -> None:
    def record(kind: int, data: bytes) -> bytes:
        return b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data

    two = record(1, bytes([10, 0, 0, 2])) + record(1, bytes([10, 0, 0, 1]))
    assert dns.parse_answer(dns_answer(two, 2), 1) == ["10.0.0.1", "10.0.0.2"]
    assert dns.parse_answer(dns_answer(record(15, b"\0\x0a\xc0\x0c"), 1), 15) == ["10 shop.test"]
    assert dns.parse_answer(dns_answer(record(16, b"\x02ab\x01c"), 1), 16) == ["abc"]
    assert dns.parse_answer(dns_answer(record(5, b"\x03www\xc0\x0c"), 1), 5) == ["www.shop.test"]
    assert dns.parse_answer(dns_answer(b"", 0, 0x8183), 1) is None
    with pytest.raises(HttpError, match="SERVFAIL"):
        dns.parse_answer(dns_answer(b"", 0, 0x8182), 1)
    with pytest.raises(HttpError, match="endless name"):
        dns.parse_answer(struct.pack(">HHHHHH", 7, 0x8180, 1, 0, 0, 0) + b"\xc0\x0c", 1)


@given(st.binary(max_size=80))
def test_dns_rubbish_does_not_crash(data: bytes) -> None:
    try:
        dns.parse_answer(struct.pack(">HHHHHH", 7, 0x8180, 1, 1, 0, 0) + data, 1)
    except HttpError:
        return


@given(
    st.dictionaries(
        st.text("abc", min_size=1),
        st.integers(-(2**31), 2**31 - 1) | st.booleans() | st.text("xyz") | st.binary(max_size=9),
    )
)
def test_bson_round_trip(document: dict[str, Any]) -> None:
    assert mongodb.decode(mongodb.encode(document)) == document


@given(st.binary(max_size=60))
def test_bson_rubbish_does_not_crash(data: bytes) -> None:
    try:
        mongodb.decode(struct.pack("<i", len(data) + 4) + data)
    except HttpError:
        return


@pytest.mark.parametrize("kind", [b"\x02", b"\x03", b"\x04", b"\x05"])
def test_bson_that_leads_backwards_is_refused(kind: bytes) -> None:
    """It would be read for ever, and no deadline reaches a loop that never waits."""
    for length in (-7, -3, -1, -(2**31)):
        back = kind + b"a\0" + struct.pack("<i", length) + b"\0"
        with pytest.raises(HttpError, match="a length of -"):
            mongodb.decode(struct.pack("<i", len(back) + 4) + back)


def test_columns_become_json_all_the_way_down() -> None:
    identifier = uuid.UUID(int=7)
    row = [identifier, {"price": Decimal("1.5"), "at": [datetime.date(2026, 1, 2)]}, (1, None), True]
    plain = postgres._plain(row)
    assert plain == [str(identifier), {"price": 1.5, "at": ["2026-01-02"]}, [1, None], True]
    json.dumps(plain)


def test_scram_as_in_rfc_7677() -> None:
    scram = mongodb.Scram("user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    assert scram.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    assert scram.final(challenge).endswith(b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    scram.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    with pytest.raises(HttpError):
        scram.verify(b"v=" + base64.b64encode(b"0" * 32))
    with pytest.raises(HttpError):
        scram.final(b"r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")


def test_amqp_server_properties() -> None:
    table = (
        b"\x07productS" + struct.pack(">I", 8) + b"RabbitMQ" + b"\x01ft\x01" + b"\x07versionS\0\0\0\x063.10.8"
    )
    assert amqp.server_properties(b"\0\x09" + struct.pack(">I", len(table)) + table) == {
        "product": "RabbitMQ",
        "version": "3.10.8",
    }


def test_redis_wire() -> None:
    assert redis.encode("AUTH", "pä") == b"*2\r\n$4\r\nAUTH\r\n$3\r\np\xc3\xa4\r\n"
    assert redis.parse_info("# Server\r\nredis_version:8.0\r\nrole:master\r\n") == {
        "redis_version": "8.0",
        "role": "master",
    }


@given(st.binary(max_size=60))
def test_certificate_rubbish_does_not_crash(data: bytes) -> None:
    with pytest.raises(HttpError):
        tls.expiry(data)
