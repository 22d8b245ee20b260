"""Ports, hosts and names of a system."""

from __future__ import annotations

from ansible.module_utils.slipway.model.system import System, default_port_base
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)


@given(name=NAMES, replicas=st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_no_two_slots_of_a_system_overlap(name: str, replicas: list[int]) -> None:
    services = {
        f"w{number}": {"kind": "web", "port": 80, "replicas": count} for number, count in enumerate(replicas)
    }
    system = System.of({"app_name": name, "app_services": services}, {}, {})
    taken: set[int] = set()
    for service in services:
        for colour in ("blue", "green"):
            first, last = system.ports(service, colour)
            ports = set(range(first, last + 1))
            assert len(ports) == services[service]["replicas"]
            assert not ports & taken
            assert ports <= set(range(system.port_base, system.port_base + 200))
            taken |= ports


@given(name=NAMES)
def test_default_ports_are_a_range_of_their_own(name: str) -> None:
    base = default_port_base(name)
    assert base % 200 == 0
    assert base >= 20000
    assert base + 199 < 32768, "ports of outgoing connections"


def test_the_default_never_changes() -> None:
    assert default_port_base("reviews") == 20000 + 200 * (1769007887 % 60)


def test_where_services_run() -> None:
    system = System.of(
        {
            "app_name": "shop",
            "app_port_base": 18000,
            "app_services": {
                "web": {"kind": "web", "port": 80, "replicas": 2},
                "api": {"kind": "web", "port": 80},
                "queue": {"kind": "worker"},
                "clock": {"kind": "worker", "single_active": True},
                "db": {"kind": "stateful"},
                "redis": {"kind": "stateful", "host": "a2"},
            },
        },
        {"app": ["a1", "a2"], "data": ["d1", "d2"]},
        {},
    )
    assert system.ports("api", "green") == (18120, 18120)
    assert system.ports("web", "blue") == (18000, 18001)
    assert [one.name for one in system.released_on("a1")] == ["web", "api", "queue", "clock"]
    assert [one.name for one in system.released_on("a2")] == ["web", "api", "queue"]
    assert system.released_on("d1") == []
    assert [one.name for one in system.stateful_on("d1")] == ["db"]
    assert [one.name for one in system.stateful_on("a2")] == ["redis"]
    assert (system.project("blue"), system.project()) == ("shop-blue", "shop")
