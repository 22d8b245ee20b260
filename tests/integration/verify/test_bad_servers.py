"""Every way a server can misbehave is a clear failure within the deadline: never a hang, never a crash."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.masking.redactor import Redactor
from ansible.module_utils.slipway.verify.checks.run import parse_checks, run_checks, summary
from verify_servers import Authority, Server, always, answer, read_request, serve


def url(server: Server, path: str = "/", host: str = "127.0.0.1") -> str:
    return f"http://{host}:{server.port}{path}"


def silence(connection: socket.socket) -> None:
    read_request(connection)
    time.sleep(5)


def drip(connection: socket.socket) -> None:
    read_request(connection)
    for byte in itertools.cycle(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 100):
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


def endless_header(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        connection.sendall(b"X-%d: %s\r\n" % (number, b"a" * 1000))


def endless_body(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        connection.sendall(b"a" * 65536)


def slow_endless_body(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1\r\na\r\n")
        time.sleep(0.02)


BOMB = gzip.compress(b"0" * 50_000_000)


def reset(connection: socket.socket) -> None:
    """A process that was killed: no goodbye, in the middle of the body."""
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def endless_interim(connection: socket.socket) -> None:
    read_request(connection)
    while True:
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
        time.sleep(0.01)


def endless_trailer(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    for number in itertools.count():
        connection.sendall(b"X-%d: a\r\n" % number)
        time.sleep(0.001)


CASES: list[tuple[str, Any, dict[str, Any], str]] = [
    ("never answers", silence, {}, "before any byte"),
    ("half a header, then silence", always(b"HTTP/1.1 200 OK\r\nContent-Ty"), {}, "inside the header"),
    ("a header that drips", drip, {}, "inside the header"),
    ("an endless header", endless_header, {}, "header larger than"),
    ("an endless body", endless_body, {}, "body larger than 1048576 bytes"),
    ("an endless body that drips", slow_endless_body, {}, "inside the body"),
    (
        "a body that is cut short",
        always(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
        {},
        "after 3 of 9 bytes",
    ),
    ("closes at once", lambda connection: None, {}, "before any byte"),
    ("closes after the request", lambda connection: bool(read_request(connection)), {}, "before any byte"),
    ("not HTTP", always(b"SSH-2.0-OpenSSH_9.2\r\n"), {}, "not an HTTP answer"),
    ("rubbish", always(bytes(range(256))), {}, "not an HTTP answer"),
    (
        "an absurd length",
        always(b"HTTP/1.1 200 OK\r\nContent-Length: 1e9\r\n\r\n"),
        {},
        "invalid content-length",
    ),
    ("a huge length", always(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"), {}, "larger than"),
    (
        "a broken chunk",
        always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        {},
        "chunk size",
    ),
    (
        "the wrong status",
        always(answer(b"down for now", "503 Down")),
        {},
        "saw 503, expected 2xx; body: 'down for now'",
    ),
    (
        "a wrong content type",
        always(answer(b'{"status": "ok"}', kind="text/html")),
        {"json": {"status": "ok"}},
        "content-type is 'text/html', expected JSON",
    ),
    (
        "invalid JSON",
        always(answer(b'{"status": ', kind="application/json")),
        {"json": {"status": "ok"}},
        "invalid JSON",
    ),
    (
        "JSON nested beyond reason",
        always(answer(b"[" * 200_000, kind="application/json")),
        {"json": {"status": "ok"}},
        "invalid JSON",
    ),
    (
        "a gzip bomb",
        always(answer(BOMB, extra="Content-Encoding: gzip\r\n")),
        {},
        "inflate to more than 1048576 bytes",
    ),
    (
        "gzip that is none",
        always(answer(b"abc", extra="Content-Encoding: gzip\r\n")),
        {},
        "invalid gzip body",
    ),
    ("a reset in the middle of the body", reset, {}, "inside the body, after 3 of 100 bytes"),
    ("interim answers for ever", endless_interim, {}, "before any byte of the answer"),
    ("a trailer for ever", endless_trailer, {}, "inside the body"),
    (
        "two lengths",
        always(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        {},
        "invalid content-length",
    ),
    ("a header without a name", always(b"HTTP/1.1 200 OK\r\n: x\r\n\r\n"), {}, "invalid header line"),
    ("line feeds alone", always(b"HTTP/1.1 200 OK\nX: y\n\nok"), {}, "inside the header"),
    ("another protocol's version", always(b"HTTP/2.0 200 OK\r\n\r\n"), {}, "not an HTTP answer"),
    ("a status of no class", always(b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"), {}, "saw 999"),
    (
        "JSON in another charset",
        always(answer('"ü"'.encode("latin-1"), kind="application/json")),
        {"json": {"@": "ü"}},
        "invalid JSON",
    ),
    (
        "JSON twice",
        always(answer(b"{}{}", kind="application/json")),
        {"json": {"a": 1}},
        "invalid JSON: Extra data",
    ),
    (
        "JSON that is none",
        always(answer(b'{"n": NaN}', kind="application/json")),
        {"json": {"n": {"ne": 0}}},
        "NaN is not JSON",
    ),
    (
        "an encoding nobody asked for",
        always(answer(b"abc", extra="Content-Encoding: br\r\n")),
        {},
        "content-encoding 'br' was not asked for",
    ),
    (
        "gzip cut short",
        always(answer(gzip.compress(b"abc" * 99)[:20], extra="Content-Encoding: gzip\r\n")),
        {},
        "ends too early",
    ),
]


@pytest.mark.parametrize(
    ("handler", "expect", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_fails_clearly_and_in_time(check: Any, handler: Any, expect: dict[str, Any], reason: str) -> None:
    with serve(handler) as server:
        outcome = check(http=url(server), expect=expect or None)
    assert not outcome.ok
    assert reason in outcome.reason
    assert outcome.attempts >= 1


def test_the_other_cases_fail_because_of_their_fault_alone(check: Any) -> None:
    """The control: the same expectations against a server that behaves."""
    with serve(always(answer(b'{"status": "ok"}', kind="application/json"))) as server:
        assert check(http=url(server), expect={"json": {"status": "ok"}}).ok
    with serve(always(answer(gzip.compress(b"abc" * 99), extra="Content-Encoding: gzip\r\n"))) as server:
        assert check(http=url(server), expect={"body": "abcabc"}).ok


@pytest.mark.parametrize(
    ("wire", "expect"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{}", {"json": {"@": {"eq": {}}}}),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", {"status": 200}),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            {"body": "ok", "header": {"link": {"exists": False}}},
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nChecksum: 1\r\n\r\n",
            {"body": {"eq": "ok"}},
        ),
        (
            b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n",
            {"header": {"X-A": {"contains": "2"}, "x-a": "1, 2"}},
        ),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n", {"status": 200}),
        (answer("Grüße".encode("latin-1"), kind="text/html; charset=ISO-8859-1"), {"body": "Grüße"}),
        (answer("Grüße".encode(), kind='text/html; charset="nonsense"'), {"body": "Grüße"}),
        (
            answer('{"größe": {"価格": 5}}'.encode(), kind="application/problem+json; charset=utf-8"),
            {"json": {"größe.価格": 5, 'größe."価格"': {"gte": 5}}},
        ),
    ],
    ids=["1.0", "no reason", "early hints", "trailers", "twice", "huge", "latin-1", "no charset", "unicode"],
)
def test_what_is_unusual_and_right(check: Any, wire: bytes, expect: dict[str, Any]) -> None:
    with serve(always(wire)) as server:
        outcome = check(http=url(server), expect=expect)
    assert outcome.ok, outcome.reason


def test_an_encoding_that_was_asked_for_may_be_looked_at(check: Any) -> None:
    with serve(always(answer(b"abc", extra="Content-Encoding: br\r\n"))) as server:
        asked = {"url": url(server), "headers": {"Accept-Encoding": "br"}}
        assert check(http=asked, expect={"header": {"content-encoding": "br"}}).ok
        assert (
            "header content-encoding: saw"
            in check(http=asked, expect={"header": {"content-encoding": "zstd"}}).reason
        )


def test_options_of_http(check: Any, authority: Authority) -> None:
    with serve(always(answer(b"a" * 5000))) as server:
        assert check(http={"url": url(server), "max_body": "8k"}).ok
        assert "larger than 1024" in check(http={"url": url(server), "max_body": "1KiB"}).reason
    with serve(always(answer()), context=authority.context("shop.test", days=-1)) as server:
        expired = {"url": f"https://127.0.0.1:{server.port}/"}
        assert "certificate not accepted" in check(http=expired).reason
        assert check(http={**expired, "validate_certs": False}).ok


def test_a_server_on_a_unix_socket(check: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)

        def answer_one() -> None:
            connection, _peer = listener.accept()
            with connection:
                read_request(connection)
                connection.sendall(answer(b"by socket"))

        threading.Thread(target=answer_one, daemon=True).start()
        assert check(http={"url": "http://app/", "unix_socket": path}, expect={"body": "by socket"}).ok
    missing = check(http={"url": "http://app/", "unix_socket": path + ".none"})
    assert "cannot connect to" in missing.reason and "No such file" in missing.reason


def test_accepts_and_never_serves(check: Any) -> None:
    """The backlog takes the connection; no process ever does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        outcome = check(http=f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert "no complete answer within 0.4 s: still waiting for the answer" in outcome.reason


def test_redirect_loop_and_too_many_redirects(check: Any) -> None:
    def loop(connection: socket.socket) -> None:
        path = (read_request(connection).split() or [b"", b""])[1].decode()
        goal = {"/a": "/b", "/b": "/a"}.get(path, path + "x")
        connection.sendall(answer(b"", "302 Found", extra=f"Location: {goal}\r\n"))

    with serve(loop) as server:
        outcome = check(http={"url": url(server, "/a"), "follow": 9})
        assert "redirect loop" in outcome.reason
        outcome = check(http={"url": url(server, "/x"), "follow": 9})
        assert "more than 9 redirects" in outcome.reason
        # Not followed unless asked for, and then judged by where it leads.
        assert check(http=url(server, "/a"), expect={"redirect": "/b"}).ok
        assert 'saw "/b", expected "/c"' in check(http=url(server, "/a"), expect={"redirect": "/c"}).reason


def test_cookies_of_redirects_are_sent_on_the_way(check: Any) -> None:
    """A sign-in that sets its cookie while it redirects, and one that comes back to where it began."""

    def sign_in(connection: socket.socket) -> None:
        request = read_request(connection)
        if b"Cookie: session=1" in request:
            connection.sendall(answer(b"welcome"))
        else:
            goal = "/" if b"GET / " in request else "/home"
            extra = f"Location: {goal}\r\nSet-Cookie: session=1; Path=/\r\n"
            connection.sendall(answer(b"", "302 Found", extra=extra))

    with serve(sign_in) as server:
        for path in ("/", "/login"):
            outcome = check(http={"url": url(server, path), "follow": 2}, expect={"body": "welcome"})
            assert outcome.ok, outcome.reason


def test_cookies_of_a_redirect_stay_with_their_host(check: Any) -> None:
    seen: list[bytes] = []

    def elsewhere(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(answer())

    with serve(elsewhere) as other:
        extra = f"Location: http://localhost:{other.port}/\r\nSet-Cookie: session=1\r\n"
        with serve(always(answer(b"", "302 Found", extra=extra))) as server:
            assert check(http={"url": url(server), "follow": 1}).ok
    assert b"session" not in seen[0]


def test_a_redirect_elsewhere_takes_no_credentials_along(check: Any) -> None:
    seen: list[bytes] = []

    def elsewhere(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(answer())

    with serve(elsewhere) as other:
        goal = f"Location: http://localhost:{other.port}/\r\n"
        with serve(always(answer(b"", "302 Found", extra=goal))) as server:
            headers = {"Authorization": "Bearer sesame", "Cookie": "a=b", "X-Other": "kept"}
            outcome = check(http={"url": url(server), "follow": 1, "headers": headers})
    assert outcome.ok
    assert b"X-Other: kept" in seen[0]
    assert b"sesame" not in seen[0] and b"Cookie" not in seen[0]


def test_secrets_that_only_the_server_knows_are_not_shown(check: Any) -> None:
    body = b'{"access_token": "eyJ0-1", "user": {"api_key": "eyJ0-2", "name": "joe"}}'
    handler = always(answer(body, kind="application/json", extra="Set-Cookie: session=eyJ0-3\r\n"))
    expect: dict[str, Any] = {
        "header": {"set-cookie": {"exists": True}},
        "json": {"access_token": {"exists": True}, "user": {"type": "object"}},
        "body": "joe",
    }
    with serve(handler) as server:
        for more in ({}, {"status": 201}, {"body": "nobody"}, {"json": {"user": 1, "access_token": "other"}}):
            outcome = check(http=url(server), expect={**expect, **more})
            told = json.dumps([summary([outcome], Redactor()), outcome.reason])
            assert outcome.ok is not bool(more)
            assert "eyJ0" not in told and "joe" in told


def test_certificates(check: Any, authority: Authority) -> None:
    ca_file = str(authority.ca_file)
    good = {"ca_file": ca_file, "url": "https://shop.test/"}
    handler = always(answer())
    with serve(handler, context=authority.context("shop.test")) as server:
        address = f"127.0.0.1:{server.port}"
        assert check(http={**good, "connect_to": address}).ok
        assert "unable to get local issuer" in check(http={"url": good["url"], "connect_to": address}).reason
        wrong = check(http={**good, "url": "https://other.test/", "connect_to": address})
        assert "certificate not accepted: Hostname mismatch" in wrong.reason and "other.test" in wrong.reason
        tls = {"address": address, "server_name": "shop.test", "ca_file": ca_file}
        assert check(tls=tls, expect={"days_left": {"gte": 80}}).ok
        assert "trusted: saw true, expected false" in check(tls=tls, expect={"trusted": False}).reason
        assert "days_left: saw 89.9" in check(tls=tls, expect={"days_left": {"gte": 91}}).reason.replace(
            "90.0", "89.9"
        )
        assert "Hostname mismatch" in check(tls={**tls, "server_name": "other.test"}).reason
        plain = check(http=f"http://127.0.0.1:{server.port}/")
        assert not plain.ok
    with serve(handler, context=authority.context("shop.test", days=-1)) as server:
        address = f"127.0.0.1:{server.port}"
        assert "certificate has expired" in check(http={**good, "connect_to": address}).reason
        old = {"address": address, "server_name": "shop.test", "ca_file": ca_file}
        # Both what is shown and what is asked for may be said: a test system whose certificate is nobody's.
        assert check(tls=old, expect={"trusted": {"contains": "expired"}, "days_left": {"lt": 0}}).ok
        assert check(tls=old, expect={"trusted": False, "days_left": {"lt": 0}}).ok
        expired = check(tls=old)
        assert "certificate has expired" in expired.reason and "days_left: saw -1.0" in expired.reason
    with serve(lambda connection: connection.sendall(answer())) as server:
        assert "TLS handshake failed" in check(http=f"https://127.0.0.1:{server.port}/").reason
    with serve(silence) as server:
        assert "still shaking hands" in check(tls=f"127.0.0.1:{server.port}").reason


def test_key_belongs_to_certificate(check: Any, authority: Authority) -> None:
    cert_file, key_file = authority.issue("shop.test")
    _other, other_key = authority.issue("other.test")
    with serve(always(answer()), context=authority.context("shop.test", days=91)) as server:
        tls = {
            "address": f"127.0.0.1:{server.port}",
            "server_name": "shop.test",
            "ca_file": str(authority.ca_file),
            "cert_file": str(cert_file),
            "key_file": str(key_file),
        }
        assert check(tls=tls, expect={"key_matches": True}).ok
        assert (
            "key values mismatch"
            in check(tls={**tls, "key_file": str(other_key)}, expect={"key_matches": True}).reason
        )
        assert not check(tls=tls, expect={"certificate_matches": True}).ok
        served = {**tls, "cert_file": str(authority.directory / "shop.test-91.pem")}
        served.pop("key_file")
        assert check(tls=served, expect={"certificate_matches": True}).ok


def test_ipv6_only(check: Any) -> None:
    with serve(always(answer()), host="::1") as server:
        assert check(http=f"http://[::1]:{server.port}/").ok
        assert check(http={"url": "http://shop.test/", "connect_to": f"[::1]:{server.port}"}).ok
        refused = check(http=f"http://127.0.0.1:{server.port}/")
        assert "127.0.0.1: Connection refused" in refused.reason


def test_slow_and_missing_names(check: Any, fails: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot resolve 'no-such-name.invalid'" in fails(http="http://no-such-name.invalid/")

    def slow(*_arguments: Any) -> Any:
        time.sleep(5)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    outcome = check(http="http://shop.test/")
    assert "still resolving shop.test" in outcome.reason


@pytest.mark.parametrize(
    ("number", "ok"), [(socket.EAI_NONAME, True), (socket.EAI_NODATA, True), (socket.EAI_AGAIN, False)]
)
def test_a_resolver_that_is_down_does_not_say_that_a_name_is_gone(
    check: Any, monkeypatch: pytest.MonkeyPatch, number: int, ok: bool
) -> None:
    def resolver(*_arguments: Any) -> Any:
        raise socket.gaierror(number, "the resolver's words")

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    outcome = check(dns="shop.test", expect={"resolves": False})
    assert outcome.ok is ok and ("the resolver's words" in outcome.reason) is not ok
    assert "the resolver's words" in check(dns="shop.test").reason


def test_a_name_server_whose_own_name_takes_for_ever(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop must not wait for the thread that looks it up: every other check would wait as well."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_named: time.sleep(5))
    outcome = check(dns={"name": "shop.test", "server": "resolver.test"})
    assert "still resolving resolver.test" in outcome.reason


def test_a_name_server_given_by_name(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer_one() -> None:
            question, client = server.recvfrom(512)
            record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes([10, 0, 0, 7])
            server.sendto(
                question[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + question[12:] + record, client
            )

        threading.Thread(target=answer_one, daemon=True).start()
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", server.getsockname())]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments: found)
        asked = {"name": "shop.test", "server": "resolver.test"}
        assert check(dns=asked, expect={"records": ["10.0.0.7"]}).ok


def test_name_with_a_dead_first_address(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose first address never answers still works through its second one."""
    with serve(always(answer())) as server:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", server.port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments: found)
        assert check(http=f"http://shop.test:{server.port}/", timeout=1, deadline=2).ok


def test_flapping_never_passes(check: Any) -> None:
    """Up for a period, down for the next, with the module's own proportions (1 s, three in a row)."""
    began = time.monotonic()

    def flap(connection: socket.socket) -> None:
        read_request(connection)
        up = int((time.monotonic() - began) / 0.1) % 2 == 0
        connection.sendall(answer() if up else answer(b"", "503 Down"))

    with serve(flap) as server:
        checks = parse_checks([{"name": "it", "http": url(server)}], interval=0.1, consecutive=3, timeout=0.5)
        (outcome,) = asyncio.run(run_checks(checks, 4.0))
    assert outcome.good >= 5, "it must have been up often enough to be tempting"
    assert not outcome.ok
    assert "attempts were good, never 3 in a row" in outcome.reason


def test_one_that_recovers_passes(check: Any) -> None:
    with serve(lambda connection: None) as server:

        def heal(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(answer() if server.connections > 5 else answer(b"", "503 Down"))

        server.handler = heal
        outcome = check(http=url(server), consecutive=3, deadline=5.0)
    assert outcome.ok and outcome.attempts == 8


def test_200_checks_in_one_call_with_hanging_and_crashing_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(always(answer(b'{"ok": true}', kind="application/json"))) as good, serve(silence) as bad:
        declared: list[dict[str, Any]] = [
            {"name": f"check {number}", "http": url(good, f"/{number}"), "expect": {"json": {"ok": True}}}
            for number in range(190)
        ]
        declared += [{"name": f"hangs {number}", "http": url(bad)} for number in range(9)]
        declared.append({"name": "crashes", "disk": "/"})
        checks = parse_checks(declared, interval=0.05, timeout=1.0)

        async def crash(*_arguments: Any) -> Any:
            raise ZeroDivisionError("bug")

        monkeypatch.setattr(checks[-1].kind, "look", crash)
        started = time.monotonic()
        outcomes = asyncio.run(run_checks(checks, 6.0))
        took = time.monotonic() - started
    result = summary(outcomes, Redactor())
    assert took < 7.0
    assert result["failed"]
    assert len(result["failed_checks"]) == 10
    assert sum(outcome.ok for outcome in outcomes) == 190
    assert "the check crashed: ZeroDivisionError: bug" in result["checks"]["crashes"]["reason"]
    for name in result["failed_checks"]:
        assert f"- {name} (" in result["msg"]
    assert len(result["gates"]) == 200


def test_more_that_hang_than_may_run_at_once_do_not_hold_up_the_others() -> None:
    with serve(always(answer())) as good, serve(silence) as bad:
        declared = [{"name": f"hangs {number}", "http": url(bad)} for number in range(30)]
        declared += [{"name": f"good {number}", "http": url(good)} for number in range(10)]
        checks = parse_checks(declared, interval=0.2, timeout=4.0)
        outcomes = asyncio.run(run_checks(checks, 6.0, concurrency=10))
    assert [outcome.check.name for outcome in outcomes if outcome.ok] == [
        f"good {number}" for number in range(10)
    ]


def test_warnings_alone_have_the_whole_deadline() -> None:
    with serve(always(answer())) as good, serve(lambda connection: None) as slow:

        def heal(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(answer() if slow.connections > 8 else answer(b"", "503 Down"))

        slow.handler = heal
        declared = [
            {"name": name, "http": url(server), "severity": "warning"}
            for name, server in (("a", good), ("b", slow))
        ]
        outcomes = asyncio.run(run_checks(parse_checks(declared, interval=0.05), 5.0))
    assert all(outcome.ok for outcome in outcomes)


def test_tcp(check: Any, fails: Any) -> None:
    with serve(lambda connection: connection.sendall(b"220 mail ESMTP\r\n")) as server:
        address = f"127.0.0.1:{server.port}"
        assert check(tcp=address).ok
        assert check(tcp=address, expect={"banner": {"starts_with": "220"}}).ok
        assert "banner: saw" in check(tcp=address, expect={"banner": {"starts_with": "554"}}).reason
        assert "open: saw true, expected false" in check(tcp=address, expect={"open": False}).reason
    assert check(tcp=address, expect={"open": False}).ok
    assert check(tcp=address, expect={"open": "false"}).ok, "as a template writes it"
    assert "cannot resolve" in fails(tcp="no-such-name.invalid:80", expect={"open": False})


def test_tcp_that_wants_to_be_asked_first(check: Any) -> None:
    def echo(connection: socket.socket) -> None:
        connection.sendall(b"you said " + connection.recv(100))

    with serve(echo) as server:
        address = f"127.0.0.1:{server.port}"
        asked = {"address": address, "send": "ruok\n"}
        assert check(tcp=asked, expect={"banner": {"contains": "ruok"}}).ok
        assert (
            "still waiting for the banner"
            in check(tcp=address, expect={"banner": {"contains": "ruok"}}).reason
        )


def test_warning_does_not_hold_up_the_critical_ones() -> None:
    with serve(always(answer())) as good, serve(silence) as bad:
        declared = [
            {"name": "good", "http": url(good)},
            {"name": "bad", "http": url(bad), "severity": "warning", "timeout": 0.3},
        ]
        started = time.monotonic()
        outcomes = asyncio.run(run_checks(parse_checks(declared, interval=0.05), 30.0))
    assert time.monotonic() - started < 5
    result = summary(outcomes, Redactor())
    assert not result["failed"] and len(result["warned"]) == 1
    assert [gate["verdict"] for gate in result["gates"]] == ["pass", "warn"]
