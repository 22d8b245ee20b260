"""The response parser takes the same from any cut of the same bytes, and no rubbish for an answer."""

from __future__ import annotations

import gzip

import pytest
from ansible.module_utils.slipway.verify.http.wire import (
    BodyTooLarge,
    HttpError,
    ProtocolError,
    ResponseParser,
    decode_body,
    request_bytes,
)
from hypothesis import given
from hypothesis import strategies as st


def parse(wire: bytes, **options: object) -> ResponseParser:
    parser = ResponseParser(**options)  # type: ignore[arg-type]
    parser.feed(wire)
    return parser


def chunked(body: bytes, cuts: list[int]) -> bytes:
    pieces, rest = [], body
    for cut in cuts:
        if rest[:cut]:
            pieces.append(rest[:cut])
            rest = rest[cut:]
    if rest:
        pieces.append(rest)
    return (
        b"".join(b"%x;note=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        + b"0\r\nTrailer: x\r\n\r\n"
    )


@given(
    body=st.binary(max_size=300),
    framing=st.sampled_from(["length", "chunked", "close"]),
    cuts=st.lists(st.integers(1, 40), max_size=30),
    interim=st.booleans(),
    rest=st.binary(max_size=5),
)
def test_any_cut_gives_the_same_answer(
    body: bytes, framing: str, cuts: list[int], interim: bool, rest: bytes
) -> None:
    head = b"HTTP/1.1 100 Continue\r\n\r\n" if interim else b""
    head += b"HTTP/1.1 201 Made it\r\nX-A:  b \r\nx-a: c\r\n"
    wire = {
        "length": head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        "chunked": head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, cuts),
        "close": head + b"\r\n" + body,
    }[framing]
    if framing != "close":
        wire += rest
    parser = ResponseParser()
    position = 0
    for cut in [*cuts, len(wire)]:
        parser.feed(wire[position : position + cut])
        position += cut
    if framing == "close":
        assert not parser.done
        parser.eof()
        assert not parser.keep_alive
    else:
        assert parser.keep_alive
        assert parser.rest == rest
    assert parser.done
    assert (parser.status, parser.reason, parser.body) == (201, "Made it", body)
    assert parser.header("x-a") == "b, c"


@given(st.binary(max_size=200))
def test_rubbish_never_crashes_and_is_never_an_answer(data: bytes) -> None:
    parser = ResponseParser()
    try:
        parser.feed(b"HTTP/1.1 " + data)
        parser.eof()
    except HttpError:
        return
    assert 200 <= parser.status <= 999 or parser.status == 101


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (b"HTTP/2 200 OK\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "invalid status line"),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "invalid header line"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", "invalid header line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "invalid content-length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "invalid content-length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdefg", "longer than its header"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", "invalid chunk size"),
    ],
)
def test_broken_answers_are_named(wire: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        parse(wire)


def test_sizes_are_bounded() -> None:
    with pytest.raises(BodyTooLarge):
        parse(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", max_body=10)
    with pytest.raises(BodyTooLarge):
        parse(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 11, max_body=10)
    with pytest.raises(ProtocolError, match="header larger"):
        parse(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70000)
    with pytest.raises(ProtocolError, match="chunk header"):
        parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 2000)


def test_no_body_where_none_can_be() -> None:
    assert parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", head_only=True).done
    assert parse(b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n").done
    assert parse(b"HTTP/1.1 304 No\r\n\r\n").done
    assert not parse(b"HTTP/1.1 200 OK\r\n\r\n").done


def test_keep_alive() -> None:
    assert parse(b"HTTP/1.1 204 No\r\n\r\n").keep_alive
    assert not parse(b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n").keep_alive
    assert not parse(b"HTTP/1.0 204 No\r\n\r\n").keep_alive
    assert parse(b"HTTP/1.0 204 No\r\nConnection: keep-alive\r\n\r\n").keep_alive


def test_requests() -> None:
    assert request_bytes("GET", "/a", {"Host": "x"}) == b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    assert request_bytes("POST", "/", {}, b"ab").endswith(b"Content-Length: 2\r\n\r\nab")
    assert b"Content-Length: 0" in request_bytes("POST", "/", {})
    for target, headers in (("/a b", {}), ("/a\r\nX: y", {}), ("/", {"A": "b\r\nC: d"}), ("/", {"A\n": "b"})):
        with pytest.raises(ValueError, match=r"line break|blank"):
            request_bytes("GET", target, headers)


@given(st.binary(max_size=2000))
def test_gzip(body: bytes) -> None:
    packed = gzip.compress(body)
    assert decode_body(packed, "gzip") == body
    assert decode_body(body, None) == body
    if len(body) > 10:
        with pytest.raises(BodyTooLarge):
            decode_body(packed, "gzip", limit=len(body) - 1)
        with pytest.raises(ProtocolError):
            decode_body(packed[:-9], "gzip")
    with pytest.raises(ProtocolError):
        decode_body(body, "br")


def test_gzip_in_several_members() -> None:
    assert decode_body(gzip.compress(b"one") + gzip.compress(b"two"), "gzip") == b"onetwo"
    assert decode_body(gzip.compress(b""), "gzip") == b""
    with pytest.raises(BodyTooLarge):
        decode_body(gzip.compress(b"1" * 600) * 2, "gzip", 1000)
    with pytest.raises(ProtocolError):
        decode_body(gzip.compress(b"one") + b"rubbish", "gzip")
