"""The grammar of event streams, whatever the network cuts them into."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.http1 import HttpError
from ansible.module_utils.slipway.sse import EventParser
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=12)
EVENT = st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=3), TEXT)


def events(wire: bytes, cuts: list[int]) -> list[tuple[str, str, str]]:
    parser = EventParser()
    position = 0
    for cut in [*cuts, len(wire)]:
        parser.feed(wire[position : position + cut], 0.0)
        position += cut
    return [(event.event, event.data, event.id) for event in parser.events]


@given(
    st.lists(EVENT, max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(1, 9), max_size=40),
    st.booleans(),
)
def test_any_cut_gives_the_same_events(
    sent: list[tuple[str, list[str], str]], end: str, cuts: list[int], mark: bool
) -> None:
    wire = "\ufeff" if mark else ""
    for name, lines, identifier in sent:
        wire += f": comment{end}event: {name}{end}id: {identifier}{end}"
        wire += "".join(f"data: {line}{end}" for line in lines) + end
    # A lone CR at the very end could still become a CRLF: one byte more decides it.
    expected = [(name or "message", "\n".join(lines), identifier) for name, lines, identifier in sent]
    assert events((wire + ":").encode(), cuts) == expected


def test_grammar() -> None:
    assert events(b"data:a\n\nevent: x\n\ndata\n\nid: 7\ndata: b\n\ndata: c\n\nretry: 5\nnone\n\n", []) == [
        ("message", "a", ""),
        ("message", "", ""),
        ("message", "b", "7"),
        ("message", "c", "7"),
    ]


def test_incomplete_events_are_none() -> None:
    assert events(b"data: a\n", []) == []
    assert events(b"data: \xc3", []) == []


def test_an_endless_line_is_refused() -> None:
    parser = EventParser()
    with pytest.raises(HttpError, match="longer than"):
        for _piece in range(20):
            parser.feed(b"a" * 100_000, 0.0)


@given(st.binary(max_size=100))
def test_rubbish_does_not_crash(data: bytes) -> None:
    EventParser().feed(data, 0.0)
