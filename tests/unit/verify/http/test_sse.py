"""The grammar of event streams, whatever the network cuts them into."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.verify.http.sse import Event, EventParser, Limits, too_late
from ansible.module_utils.slipway.verify.http.wire import HttpError
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


@pytest.mark.parametrize(
    ("moments", "late"),
    [
        ([0.9, 1.5, 2.4], None),
        ([1.1, 1.1, 1.1], "the first event came after 1.10 s, expected within 1 s"),
        ([0.5, 2.6, 2.6], "event 2 came, after event 1, after 2.10 s, expected within 2 s"),
        ([0.5, 2.4, 3.1], "event 3 came after 3.10 s, expected within 3 s"),
    ],
)
def test_events_that_come_too_late(moments: list[float], late: str | None) -> None:
    """Together with the header, or in one lump: nobody was waiting, so no time ran out."""
    found = [Event("message", "x", "", 100 + moment) for moment in moments]
    assert too_late(found, 100.0, Limits(3, first_within=1.0, idle=2.0, within=3.0)) == late
