# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Seeing through the edge which colour answers."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

COLOUR_HEADER = "X-Slipway-Colour"


class EdgeError(Exception):
    """The edge does not do what it should; the message says what was seen, `result` what is known beside it."""

    def __init__(self, message: str, result: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.result = result or {}


@dataclass
class Address:
    """How to ask the edge: the public name, and where it listens."""

    domain: str
    host: str = "127.0.0.1"
    port: int = 443
    tls: bool = True
    path: str = "/"
    timeout: float = 5.0


def public(asked: Mapping[str, Any]) -> Address:
    """Return how to ask the edge, from the options that edge_switch and release_watch share: over TLS on 443, else on 80."""
    port = asked.get("port") or (443 if asked["tls"] else 80)
    return Address(asked["domain"], port=port, tls=asked["tls"], path=asked["path"])


class _Direct(http.client.HTTPSConnection):
    """A TLS connection to an address that names the domain in SNI."""

    def __init__(self, address: Address, context: ssl.SSLContext) -> None:
        super().__init__(address.host, address.port, timeout=address.timeout, context=context)
        self._address = address
        self._ssl = context

    def connect(self) -> None:
        plain = socket.create_connection((self._address.host, self._address.port), self._address.timeout)
        self.sock = self._ssl.wrap_socket(plain, server_hostname=self._address.domain)


def ask(address: Address) -> tuple[int, str]:
    """Ask the edge once over a connection of its own; return the status and the colour that answered.

    Raises OSError or http.client.HTTPException where there is no answer. The certificate is not checked here: that
    is the confirm phase's business, and this asks over the loopback.
    """
    if address.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection: http.client.HTTPConnection = _Direct(address, context)
    else:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=address.timeout)
    try:
        connection.request(
            "GET", address.path, headers={"Host": address.domain, "User-Agent": "slipway-edge"}
        )
        response = connection.getresponse()
        response.read()
        return response.status, response.getheader(COLOUR_HEADER, "") or "none"
    finally:
        connection.close()


def unready(servers: Sequence[Mapping[str, str]], domain: str, timeout: float = 2.0) -> list[str]:
    """Ask each server (`address` as host:port, `path`) once, past the edge; say which do not answer or answer 5xx."""

    def look(server: Mapping[str, str]) -> str:
        host, _, port = server["address"].rpartition(":")
        try:
            status, _ = ask(Address(domain, host.strip("[]"), int(port), False, server["path"], timeout))
        except (OSError, http.client.HTTPException) as error:
            return f"{server['address']}: {error or type(error).__name__}"
        return f"{server['address']}{server['path']}: status {status}" if status >= 500 else ""

    with ThreadPoolExecutor(max_workers=16) as pool:
        return [trouble for trouble in pool.map(look, servers) if trouble]


def confirm(address: Address, colour: str, requests: int, deadline: float) -> int:
    """Ask until `requests` answers in a row came from `colour` and none was a server error; return how many were asked.

    `deadline` is of time.monotonic(). Raises EdgeError where that is not seen in time.
    """
    good = asked = 0
    seen = "nothing"
    while good < requests:
        asked += 1
        try:
            status, answered_by = ask(address)
            seen = f"status {status} from {answered_by}"
            good = good + 1 if answered_by == colour and status < 500 else 0
        except (OSError, http.client.HTTPException) as error:
            seen = f"{type(error).__name__}: {error}"
            good = 0
        if good == 0:
            if time.monotonic() > deadline:
                raise EdgeError(
                    f"Through the edge, {address.path} of {address.domain} is not answered by {colour}: last seen {seen}"
                    f" ({asked} requests)."
                )
            time.sleep(0.01)
    return asked
