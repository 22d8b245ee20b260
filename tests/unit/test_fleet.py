"""Addresses of the embedded fleet."""

from __future__ import annotations

import ipaddress

import pytest
from ansible.module_utils.slipway.fleet import SUBNETS, FleetError, free_address


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
