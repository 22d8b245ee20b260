"""The embedded fleet: addresses, and what a plan says of it."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.slipway.fleet import SUBNETS, Fleet, FleetError, free_address


def test_addresses_are_given_in_order_and_never_twice() -> None:
    taken: set[str] = set()
    for _ in range(5):
        taken.add(free_address("10.177.0.0/24", taken))
    assert taken == {f"10.177.0.{number}" for number in range(10, 15)}


def test_a_full_network_is_said() -> None:
    everything = {str(address) for address in ipaddress.ip_network("10.177.0.0/24")}
    with pytest.raises(FleetError, match="fleet-down"):
        free_address("10.177.0.0/24", everything)


def test_the_networks_to_choose_from_do_not_overlap() -> None:
    networks = [ipaddress.ip_network(subnet) for subnet in SUBNETS]
    assert len(set(networks)) == len(networks) > 20
    assert all(network.is_private for network in networks)


class Client:
    """An engine with one host that is stopped and one that runs; it refuses to change anything."""

    networks = SimpleNamespace(list=lambda names: [])
    containers = SimpleNamespace(
        list=lambda **_filters: [
            SimpleNamespace(labels={"slipway.host": name}, status=status)
            for name, status in (("one", "exited"), ("two", "running"))
        ]
    )


@pytest.mark.parametrize(
    ("act", "after"),
    [
        (
            lambda fleet: fleet.ensure(["one", "two", "new"], 60, True),
            "new: running\none: running\ntwo: running\n",
        ),
        (lambda fleet: fleet.remove(True), ""),
    ],
)
def test_a_plan_shows_which_hosts_come_and_go(tmp_path: Path, act: Any, after: str) -> None:
    planned = act(Fleet(Client(), "test", "slipway/host:13", str(tmp_path / "fleet")))
    assert planned["changed"] and planned["diff"] == {"before": "one: exited\ntwo: running\n", "after": after}
