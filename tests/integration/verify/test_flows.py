"""Flows against a shop that works, and against the same shop with one thing wrong at a time."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils.slipway.masking.redactor import Redactor, secret_values
from ansible.module_utils.slipway.verify.flows.run import Done, parse_flows, run_flow
from ansible.module_utils.slipway.verify.moments import Place
from ansible.module_utils.slipway.verify.predicates import SpecError
from verify_servers import serve
from verify_shop import HOOK_SECRET, PASSWORD, TOKEN, Shop


class Journey:
    """Runs flows against a shop and remembers everything that would be shown."""

    def __init__(self, shop: Shop, base: str) -> None:
        self.shop = shop
        self.base = base
        self.shown = ""

    def walk(
        self, *steps: Any, always: Any = (), deadline: float = 10.0, check_mode: bool = False, **more: Any
    ) -> list[Done]:
        redactor = Redactor(secret_values([*steps, *always]))
        declared = {"flow": "it", "steps": list(steps), "always": list(always), "deadline": deadline, **more}
        (flow,) = parse_flows([copy.deepcopy(declared)], [Place(self.base)], redactor)
        started = time.monotonic()
        done = asyncio.run(run_flow(flow, check_mode))
        assert time.monotonic() - started < deadline + 2
        self.shown = json.dumps(done)
        return done

    def fails(self, *steps: Any, **more: Any) -> str:
        (failed,) = [step for step in self.walk(*steps, **more) if step.verdict == "fail"]
        return "\n".join(failed.lines)

    def passes(self, *steps: Any, **more: Any) -> list[Done]:
        done = self.walk(*steps, **more)
        assert [step.verdict for step in done] == ["pass"] * len(done), done
        return done


@pytest.fixture
def journey() -> Iterator[Journey]:
    shop = Shop()
    with serve(shop) as server:
        yield Journey(shop, f"http://127.0.0.1:{server.port}")


LOGIN = {
    "name": "login",
    "post": "/api/login",
    "json": {"user": "smoke", "password": PASSWORD},
    "expect": {
        "status": 200,
        "header": {"content-type": {"contains": "json"}},
        "json": {"user.role": "admin", "length(items)": {"gte": 1}},
    },
    "save": {"token": {"json": "access_token", "secret": True}},
}
ME = {
    "name": "me",
    "get": "/api/me",
    "headers": {"Authorization": "Bearer ${token}"},
    "expect": {"json": {"you": "admin"}},
}
ORDER = {
    "name": "order",
    "post": "/api/orders",
    "json": {"ref": "${uuid}"},
    "expect": {"status": 201},
    "save": {"order": {"json": "id"}},
}
PAY = {
    "name": "pay",
    "post": "/hooks/pay",
    "body": '{"id": "${uuid}", "order": "${order}"}',
    "sign": {"scheme": "standard-webhooks", "secret": HOOK_SECRET},
    "effect": {"get": "/api/orders/${order}", "expect": {"json": {"payments": 1}}, "within": "2s"},
    "replay": [
        {"case": "same_id", "expect": {"status": [200, 409], "effect": "once"}},
        {"case": "stale", "age": "10m"},
        "tampered_body",
        "no_signature",
        "wrong_secret",
        "same_signature",
    ],
}
CLEAN = {"delete": "/api/orders/${order}", "when_saved": "order", "expect": {"status": [204, 404]}}


def test_a_whole_journey(journey: Journey) -> None:
    done = journey.passes(LOGIN, ME, ORDER, PAY, always=[CLEAN])
    assert done[3].seen.endswith("6 forgeries answered as expected")
    assert not journey.shop.orders, "the always step must have cleaned up"


def test_what_must_not_change_is_watched_for_all_of_within(journey: Journey) -> None:
    once = {**PAY, "replay": [{"case": "same_id", "expect": {"status": 409, "effect": "once"}}]}
    done = journey.passes(LOGIN, ORDER, once)
    assert done[2].ms >= 2000
    looks = sum(target.startswith("/api/orders/") for _method, target in journey.shop.requests)
    assert looks > 5


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("twice", "effect after replay same_id"),
        ("late", "effect after replay same_id"),
        ("stale", "replay stale:"),
        ("tampered", "replay tampered_body:"),
        ("unsigned", "replay no_signature:"),
    ],
)
def test_a_receiver_that_falls_for_a_forgery(journey: Journey, fault: str, reason: str) -> None:
    journey.shop.faults = {fault}
    if fault in ("twice", "late"):  # at once, or in the background a moment after it said 409
        step = {**PAY, "replay": [{"case": "same_id", "expect": {"status": [200, 409], "effect": "once"}}]}
    else:
        step = PAY
    assert reason in journey.fails(LOGIN, ORDER, step, always=[CLEAN])
    assert not journey.shop.orders, "the always step must run after a failure"


def test_failure_shows_request_answer_predicate_and_value(journey: Journey) -> None:
    journey.shop.faults = {"login"}
    shown = journey.fails(LOGIN, ME)
    assert f"POST {journey.base}/api/login -> 200 OK" in shown
    assert 'json user.role: saw "nobody", expected "admin"' in shown
    assert '"role": "nobody"' in shown


def test_secrets_are_shown_nowhere(journey: Journey) -> None:
    journey.shop.faults = {"login"}
    journey.walk(LOGIN)
    assert TOKEN[:40] not in journey.shown and PASSWORD not in journey.shown
    journey.shop.faults = set()
    wrong = {**ME, "expect": {"json": {"token": "other", "you": "nobody"}}}
    journey.walk(LOGIN, wrong)
    assert 'saw \\"********\\"' in journey.shown
    assert TOKEN[:40] not in journey.shown and "c00kie-value" not in journey.shown
    # An error that repeats the password it was given.
    journey.walk({**LOGIN, "json": {"user": "smoke", "password": "hunter2-hunter2"}})
    assert "401" in journey.shown and "hunter2" not in journey.shown
    journey.walk({**PAY, "body": '{"order": "x"}', "effect": {"get": "/api/orders/x"}, "replay": ["stale"]})
    assert HOOK_SECRET not in journey.shown and HOOK_SECRET[6:] not in journey.shown


def test_secrets_that_are_only_looked_at_are_shown_nowhere(journey: Journey) -> None:
    seen = {**LOGIN, "expect": {"json": {"access_token": {"exists": True}, "@": {"type": "object"}}}}
    del seen["save"]
    for more in ({}, {"status": 201}, {"json": {"access_token": "other", "@": 1}}):
        journey.walk({**seen, "expect": {**seen["expect"], **more}})
        assert TOKEN[:40] not in journey.shown and "********" in journey.shown


def test_github_scheme(journey: Journey) -> None:
    step = {
        "post": "/hooks/github",
        "body": '{"zen": "ü"}',
        "sign": {"scheme": "github", "secret": "gh-secret"},
        "replay": ["tampered_body", "no_signature", "wrong_secret"],
    }
    journey.passes(step)
    assert "saw 401, expected 2xx" in journey.fails({**step, "sign": {"scheme": "github", "secret": "other"}})


@pytest.mark.parametrize(
    "sign",
    [
        {"scheme": "hex"},
        {"scheme": "hex", "algorithm": "sha1"},
        {"scheme": "hex", "algorithm": "sha384", "header": "X-Sig"},
        {"scheme": "hex", "algorithm": "sha512"},
        {"scheme": "base64"},
        {"scheme": "base64", "secret_encoding": "hex"},
        {"scheme": "hex", "secret_encoding": "base64"},
        {"scheme": "stripe"},
        {
            "scheme": "custom",
            "payload": "v0:{timestamp}:{body}",
            "headers": {"X-Signature": "v0={signature}", "X-Time": "{timestamp}"},
        },
    ],
    ids=lambda sign: "-".join(str(value) for value in sign.values() if isinstance(value, str)),
)
def test_every_way_of_signing(journey: Journey, sign: dict[str, Any]) -> None:
    """The receiver computes what it expects with Python's hmac alone."""
    key = {"hex": "00ff10", "base64": "c2VjcmV0LWtleQ=="}.get(sign.get("secret_encoding", ""), "plain-key")
    journey.shop.signing = (sign, key)
    step = {
        "post": "/hooks/any",
        "body": '{"a": "ü"}',
        "sign": {**sign, "secret": key},
        "replay": ["tampered_body", "no_signature", "wrong_secret"],
    }
    journey.passes(step)
    journey.shop.signing = (sign, "another-key" if "secret_encoding" not in sign else key[:2] + key[4:])
    assert "saw 401, expected 2xx" in journey.fails(step)


def test_every_method_body_and_way_of_saving(journey: Journey) -> None:
    journey.passes(
        {
            "name": "form",
            "post": "/echo",
            "form": {"a": "b c", "d": "é"},
            "expect": {
                "json": {
                    "method": "POST",
                    "type": "application/x-www-form-urlencoded",
                    "body": "a=b+c&d=%C3%A9",
                },
                "time": "2s",
            },
        },
        {
            "name": "patch",
            "patch": "/echo",
            "json": {"n": 1},
            "expect": {"json": {"method": "PATCH", "type": "application/json", "body": '{"n": 1}'}},
        },
        {
            "name": "head",
            "head": "/echo",
            "expect": {"status": 200, "header": {"content-length": {"exists": True}}},
        },
        {"name": "options", "options": "/echo", "expect": {"json": {"method": "OPTIONS"}}},
        {
            "name": "save",
            "get": "/echo",
            "expect": {"latency": {"lt": "2s"}, "version": {"equals": "7", "json": "version"}},
            "save": {
                "from_header": {"header": "x-echo"},
                "from_body": {"body": '"method": "(\\w+)"'},
                "code": {"status": True},
                "all": {"json": "@"},
            },
        },
        {
            "name": "use",
            "post": "/echo",
            "json": {"all": "${all}", "code": "${code}"},
            "expect": {"json": {"body": {"contains": '"code": 200'}}},
        },
        {
            "name": "named",
            "get": "/echo?${from_header}-${from_body}",
            "expect": {"json": {"target": "/echo?seen-GET"}},
        },
        {"name": "follow", "get": "/moved", "follow": 2, "expect": {"json": {"target": "/echo"}}},
        {"name": "not followed", "get": "/moved", "expect": {"redirect": "/echo"}},
        defaults={"cookies": False, "timeout": "2s", "headers": {"X-All": "steps"}},
    )
    shown = journey.fails({"get": "/echo", "save": {"gone": {"json": "gone"}}})
    assert "save gone: the response has no such json" in shown
    assert "latency: saw" in journey.fails({"get": "/echo", "expect": {"time": "0.001ms"}})
    assert 'version: saw "7", expected "8"' in journey.fails(
        {"get": "/echo", "expect": {"version": {"equals": "8", "json": "version"}}}
    )


STREAM = {
    "name": "stream",
    "sse": "/api/events",
    "read": {"events": 4, "first_within": "1s", "idle": "1s", "within": "5s"},
    "expect": {"event": "tick", "json": {"seq": {"increasing": True}}, "buffered": False, "spread": "200ms"},
    "resume": {"last_event_id": True, "expect": {"gap": 0}},
}


def test_event_stream(journey: Journey) -> None:
    (done,) = journey.passes(STREAM)
    assert "4 events over 0.3" in done.seen and "resumed" in done.seen


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("buffered", "something held them back"),
        ("gap", "gap 2, expected 0"),
        ("kind", "expected text/event-stream"),
        ("mute", "no event within 1 s"),
        ("tardy", "the first event came after 1.2"),
    ],
)
def test_event_stream_gone_wrong(journey: Journey, fault: str, reason: str) -> None:
    journey.shop.faults = {fault}
    assert reason in journey.fails(STREAM)


def test_event_stream_expectations_can_fail(journey: Journey) -> None:
    wrong = {**STREAM, "expect": {"event": "other", "json": {"seq": {"gt": 100}}}}
    shown = journey.fails(wrong)
    assert 'event: saw "tick", expected "other"' in shown and "json seq: saw 1, expected above 100" in shown


BURST = {
    "name": "limit",
    "burst": {"get": "/api/limited", "requests": 30, "concurrency": 30},
    "expect": {"only": [200, 429], "count": {"429": {"gte": 1}, "200": {"gte": 1}}, "recovers_within": "5s"},
}


def test_burst(journey: Journey) -> None:
    (done,) = journey.passes(BURST)
    assert done.seen.startswith("5x 200, 25x 429, recovered after")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("unlimited", "count of 429: saw 0, expected at least 1"), ("burst500", "only: saw")],
)
def test_burst_gone_wrong(journey: Journey, fault: str, reason: str) -> None:
    journey.shop.faults = {fault}
    assert reason in journey.fails(BURST)


def test_burst_of_streams(journey: Journey) -> None:
    """A stream that was accepted has no end to wait for: its status counts."""
    step = {
        "burst": {"sse": "/api/events", "requests": 12, "concurrency": 12, "timeout": "2s"},
        "expect": {
            "only": [200, 429],
            "count": {"200": {"gte": 2}, "429": {"gte": 4}},
            "recovers_within": "5s",
        },
    }
    started = time.monotonic()
    journey.passes(step)
    assert time.monotonic() - started < 4
    journey.shop.faults = {"streams"}
    assert "count of 429: saw 0" in journey.fails(step)


def test_burst_that_never_recovers(journey: Journey) -> None:
    step = {**BURST, "expect": {"count": {"429": 1}, "recovers_within": "300ms"}}
    assert "recovers_within: still so 0.3 s after the burst" in journey.fails(step)


def test_burst_that_recovers_too_late(journey: Journey) -> None:
    """It answers well in the end, but not within the time it has."""

    def slow_from_the_fifth_on() -> bytes:
        with journey.shop.lock:
            journey.shop.window.append(0.0)
            number = len(journey.shop.window)
        if number > 4:
            time.sleep(0.8)
        return journey.shop.json({})

    journey.shop.limited = slow_from_the_fifth_on  # type: ignore[method-assign]
    step = {
        "burst": {"get": "/api/limited", "requests": 4},
        "expect": {"only": 200, "recovers_within": "400ms"},
    }
    assert "recovers_within: still so 0.4 s after the burst" in journey.fails(step)
    journey.shop.window.clear()
    journey.passes({**step, "expect": {"only": 200, "recovers_within": "5s"}})


def cache(by: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "cache",
        "cache": {"get": "/products/1", "by": by},
        "expect": ["miss", "hit"],
        "invalidate": {"put": "/products/1", "json": {"price": 2}},
        "then": ["miss", {"changed": "body"}, "hit"],
    }


BY_HEADER = cache({"header": "x-cache", "hit": "HIT", "miss": "MISS"})
BY_TIME = cache({"time_ratio": 3})


@pytest.mark.parametrize("step", [BY_HEADER, BY_TIME], ids=["by header", "by time"])
def test_cache(journey: Journey, step: dict[str, Any]) -> None:
    journey.passes(step)


def test_cache_gone_wrong(journey: Journey) -> None:
    journey.shop.faults = {"uncached"}
    assert 'saw "MISS", expected a hit' in journey.fails(BY_HEADER)
    assert "expected 3 times faster" in journey.fails(BY_TIME)
    journey.shop.faults = {"uninvalidated"}
    journey.shop.cached = None
    assert 'request 1 after the invalidation: saw "HIT", expected a miss' in journey.fails(BY_HEADER)
    journey.shop.faults = set()
    journey.shop.cached, journey.shop.price = None, 2
    assert "changed: the body is the same" in journey.fails(BY_HEADER)


CONNECTIONS = {
    "name": "streams",
    "connections": {"sse": "/api/events", "allowed": 2},
    "expect": {"refused": 429},
}


def test_concurrent_streams(journey: Journey) -> None:
    (done,) = journey.passes(CONNECTIONS)
    assert "one more refused with 429" in done.seen
    journey.shop.faults = {"streams"}
    assert "stream 3 was expected to be refused with 429" in journey.fails(CONNECTIONS)
    journey.shop.faults = set()
    three = {
        "connections": {"sse": "/api/events", "allowed": 3},
        "expect": {"refused": 429, "again_within": "2s"},
    }
    assert "stream 3 of 3 allowed was not accepted" in journey.fails(three)


def test_deadline_ends_a_hanging_flow_and_cleaning_up_still_runs(journey: Journey) -> None:
    slow = {"name": "slow", "get": "/slow", "timeout": "9s"}
    done = journey.walk(ORDER, slow, ME | {"headers": {}}, always=[CLEAN], deadline=0.7)
    assert [step.verdict for step in done] == ["pass", "fail", "inconclusive", "pass"]
    assert "not finished when the flow's deadline came" in done[1].lines[0]
    assert not journey.shop.orders


def test_failed_cleaning_is_a_warning(journey: Journey) -> None:
    journey.shop.faults = {"delete"}
    done = journey.walk(ORDER, always=[CLEAN])
    assert [step.verdict for step in done] == ["pass", "warn"]


def test_post_is_never_repeated_unless_asked(journey: Journey) -> None:
    defaults = {"retry": {"for": "1s", "every": "100ms", "on": [404]}}
    journey.fails({"post": "/nowhere"}, defaults=defaults)
    assert journey.shop.requests.count(("POST", "/nowhere")) == 1
    journey.fails({"get": "/nowhere"}, defaults=defaults)
    assert journey.shop.requests.count(("GET", "/nowhere")) > 3
    asked = {"retry": {"for": "1s", "every": "100ms", "on": [404], "methods": ["POST"]}}
    journey.fails({"post": "/nowhere"}, defaults=asked)
    assert journey.shop.requests.count(("POST", "/nowhere")) > 3


def test_who_is_asked_to_wait_waits(journey: Journey) -> None:
    """Retry-After: again before would only be refused again, and keep the limit busy."""
    journey.shop.faults = {"busy"}
    step = {"get": "/busy", "retry": {"for": "5s", "every": "50ms", "on": [429]}}
    started = time.monotonic()
    journey.passes(step)
    assert 0.9 < time.monotonic() - started < 3
    assert len(journey.shop.requests) == 2


def test_cookies_come_and_go(journey: Journey) -> None:
    cookie = {"get": "/cookies", "expect": {"json": {"sent": "theme=dark; session=0123456789abcdef"}}}
    journey.passes(
        {"name": "set", "get": "/cookies?set"},
        {"name": "sent", **cookie},
        {"name": "taken back", "get": "/cookies?expire"},
        {"name": "gone", "get": "/cookies", "expect": {"json": {"sent": "theme=dark"}}},
    )
    wrong = {"get": "/cookies", "expect": {"json": {"sent": "other"}}}
    shown = journey.fails({"name": "set", "get": "/cookies?set"}, wrong)
    # A session is a secret; a preference is not, or every "dark" would be masked.
    assert "theme=dark" in shown and "0123456789abcdef" not in shown


def test_cookies_of_a_redirect_are_kept(journey: Journey) -> None:
    sent = {"json": {"sent": {"starts_with": "session=0123"}}}
    journey.passes(
        {"name": "enter", "get": "/enter", "follow": 1, "expect": sent, "save": {"s": {"cookie": "session"}}},
        {"name": "later", "get": "/cookies", "expect": sent},
    )
    assert "0123456789abcdef" not in journey.shown


def test_a_compressed_stream_is_none(journey: Journey) -> None:
    journey.shop.faults = {"compressed"}
    assert "a compressed stream arrives in lumps" in journey.fails(STREAM)


def test_a_stream_as_the_standard_allows_it(journey: Journey) -> None:
    """Comments, carriage returns, data in several lines, a retry time, a byte order mark."""
    journey.passes(
        {
            "sse": "/api/unusual",
            "read": {"events": 3, "within": "3s"},
            "expect": {"data": {"type": "string"}, "event": {"in": ["message", "tick"]}, "count": {"eq": 3}},
        },
        {
            "name": "lines",
            "sse": "/api/unusual",
            "expect": {"data": {"eq": "one\ntwo"}, "event": "message"},
        },
    )


def test_within_waits_for_what_takes_a_moment(journey: Journey) -> None:
    step = {"get": "/api/orders/o1", "within": "3s", "expect": {"status": 200}}
    started = time.monotonic()
    import threading

    threading.Timer(0.6, lambda: journey.shop.orders.update(o1={"id": "o1"})).start()
    journey.passes(step)
    assert 0.5 < time.monotonic() - started < 2


def test_check_mode_runs_only_what_reads(journey: Journey) -> None:
    done = journey.walk(
        LOGIN,
        ME,
        STREAM,
        BURST,
        BY_HEADER,
        {"name": "read", "get": "/products/1"},
        always=[CLEAN],
        check_mode=True,
    )
    assert {step.name: step.verdict for step in done} == {
        "login": "inconclusive",
        "me": "inconclusive",
        "stream": "pass",
        "limit": "inconclusive",
        "cache": "inconclusive",
        "read": "pass",
        "delete /api/orders/${order}": "pass",
    }
    assert {method for method, _target in journey.shop.requests} == {"GET"}


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ({"gte": "/"}, "unknown key 'gte'; did you mean 'get'?"),
        ({"get": "/", "expct": {}}, "did you mean 'expect'?"),
        ({"get": "/", "expect": {}}, "an empty expectation asserts nothing"),
        ({"get": "/", "expect": {"json": {}}}, "must be a mapping with at least one entry"),
        ({"get": "/", "expect": {"status": []}}, "an empty list asserts nothing"),
        ({"get": "/", "expect": {"stauts": 200}}, "did you mean 'status'?"),
        ({"get": "/", "expect": {"json": {"a": {"contain": 1}}}}, "did you mean 'contains'?"),
        ({"get": "/", "post": "/"}, "exactly one action is needed, found get and post"),
        ({"get": "/${order}"}, "${order} is not saved by an earlier step"),
        ({"get": "/", "save": {"a": {"jsn": "a"}}}, "exactly one action is needed"),
        ({"post": "/", "replay": ["stale"]}, "needs sign"),
        ({"post": "/", "sign": {"scheme": "githb", "secret": "x"}}, "did you mean 'github'?"),
        ({"post": "/", "sign": {"scheme": "github", "secret": ""}}, "must not be empty"),
        (
            {"post": "/", "sign": {"scheme": "github", "secret": "x"}, "replay": ["stale"]},
            "nothing can be stale",
        ),
        (
            {"post": "/", "sign": {"scheme": "stripe", "secret": "x"}, "replay": ["stael"]},
            "did you mean 'stale'?",
        ),
        ({"post": "/", "sign": {"scheme": "stripe", "secret": "x"}, "replay": []}, "replays nothing"),
        ({"sse": "/", "read": {"event": 1}}, "did you mean 'events'?"),
        ({"sse": "/", "expect": {"buffered": False}}, "needs read.events of at least 2"),
        ({"burst": {"get": "/"}, "expect": {}}, "at least one entry"),
        ({"cache": {"get": "/", "by": {"header": "x", "hit": "H"}}}, "miss is required"),
        ({"connections": {"sse": "/", "allowd": 2}}, "did you mean 'allowed'?"),
        ({"get": "/", "headers": {"A": "b\r\nc: d"}}, "line break in the value"),
        ({"get": "/", "expect": None}, "an empty expectation asserts nothing"),
        ({"get": "/", "save": None}, "at least one name"),
        ({"get": "/", "headers": {"A": "${order.id}"}}, "'${order.id}' is no saved value"),
        ({"get": "/${"}, "'${' is no saved value"),
        ({"get": "/{{ order }}"}, "{{ order }} was not filled in; a value of a flow is written ${name}"),
        ({"get": "/", "timeout": 0}, "timeout: must be more than nothing"),
        ({"get": "/", "timeout": -1}, "timeout: -1 is not a duration"),
        ({"get": "/", "follow": True}, "follow: true is not a whole number"),
        ({"get": "/", "within": "soon"}, "is not a duration"),
        ({"get": "/", "retry": {}}, "at least `for`"),
        ({"get": "/", "retry": {"for": "1s", "on": ["all"]}}, "neither a status nor connect"),
        ({"get": "/", "retry": {"for": "1s", "no": [1]}}, "unknown key 'no'"),
        ({"get": "/", "json": {}, "body": "x"}, "json and body exclude each other"),
        ({"post": "/", "body": {"a": 1}}, "use json for data"),
        ({"sse": "/", "read": {"events": "some"}}, 'events: "some" is not a whole number'),
        ({"sse": "/", "expect": None}, "at least one entry"),
        ({"sse": "/", "resume": {"last_event_id": True, "expect": {"gpa": 0}}}, "did you mean 'gap'?"),
        ({"burst": {"get": "/", "requests": 1}, "expect": {"only": [200]}}, "requests: must be at least 2"),
        ({"burst": {"get": "/"}, "expect": {"only": []}}, "asserts nothing"),
        (
            {"burst": {"get": "/"}, "expect": {"recovers_within": 0}},
            "recovers_within: must be more than nothing",
        ),
        ({"burst": {"get": "/"}, "expect": {"count": {}}}, "at least one entry"),
        ({"burst": {"get": "/", "reqests": 5}, "expect": {"only": 200}}, "did you mean 'requests'?"),
        ({"cache": {"get": "/", "by": {"time_ratio": 1}}}, "must be above 1"),
        ({"cache": {"get": "/", "by": {"time_ratio": "fast"}}}, "could not convert"),
        ({"cache": {"get": "/", "by": {"time_ratio": 3}}, "expect": []}, "asserts nothing"),
        (
            {"cache": {"get": "/", "by": {"time_ratio": 3}}, "expect": ["hit", "warm"]},
            "neither miss, hit nor",
        ),
        ({"cache": {"get": "/", "by": {"time_ratio": 3}}, "then": ["miss"]}, "belong together"),
        (
            {"cache": {"get": "/", "by": {"time_ratio": 3}}, "expect": ["miss"]},
            "told by the hit right after",
        ),
        ({"cache": {"get": "/", "by": {"time_ratio": 3}}, "expect": ["hit"]}, "told by the miss before it"),
        (
            {**BY_TIME, "then": ["miss", {"changed": "body"}]},
            "then: by time_ratio, a miss is told by the hit",
        ),
        ({**BY_HEADER, "then": [{"changed": "body"}, "miss"]}, "needs an answer before it"),
        ({**BY_HEADER, "expect": ["miss", {"changed": "body"}]}, "nothing has changed yet"),
        ({"get": "/", "expect": {"body": ""}}, "every text contains the empty one"),
        ({"get": "/", "expect": {"header": {"x": None}}}, "null is no text"),
        ({"sse": "/", "expect": {"data": ""}}, "every text contains the empty one"),
        ({"connections": {"sse": "/", "allowed": 0}}, "allowed: must be at least 1"),
        ({"connections": {"sse": "/"}, "expect": {}}, "at least one entry"),
        ({"post": "/", "sign": {"scheme": "hex", "secret": "x", "secert": 1}}, "did you mean 'secret'?"),
        (
            {"post": "/", "sign": {"payload": "{timestamp}", "secret": "x", "header": "X"}},
            "must contain {body}",
        ),
        (
            {"post": "/", "sign": {"payload": "{bdy}{body}", "secret": "x", "header": "X"}},
            "did you mean 'body'?",
        ),
        (
            {
                "post": "/",
                "sign": {"scheme": "hex", "secret": "x"},
                "replay": [{"case": "tampered_body", "expect": {}}],
            },
            "asserts nothing",
        ),
        (
            {
                "post": "/",
                "sign": {"scheme": "hex", "secret": "x"},
                "replay": [{"case": "same_id", "expect": {"effect": "once"}}],
            },
            "declares no effect",
        ),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(
    journey: Journey, step: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SpecError) as caught:
        journey.walk({"get": "/"} | {"name": "first"}, step)
    assert problem in str(caught.value)
    assert not journey.shop.requests


def test_no_steps_are_no_flow(journey: Journey) -> None:
    with pytest.raises(SpecError, match="an empty list does nothing"):
        journey.walk()
