# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Cookies by host, as far as a journey through one application needs them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from http.cookies import CookieError, SimpleCookie
from typing import Any


class Jar:
    """Remembers what servers set.

    :param learn: told every value, which may be a secret.
    """

    def __init__(self, learn: Callable[[str], None] | None = None) -> None:
        self._learn = learn
        self._hosts: dict[str, dict[str, str]] = {}

    def keep(self, host: str, headers: Iterable[tuple[str, str]]) -> None:
        """Take the cookies of an answer; one that has expired is taken back."""
        jar = self._hosts.setdefault(host, {})
        for name, value in headers:
            if name != "set-cookie":
                continue
            try:
                morsels = list(SimpleCookie(value).values())
            except CookieError:
                continue
            for morsel in morsels:
                if self._learn:
                    self._learn(morsel.value)
                if _expired(morsel) or not morsel.value:
                    jar.pop(morsel.key, None)
                elif morsel.value.isascii() and morsel.value.isprintable():  # else it cannot be sent
                    jar[morsel.key] = morsel.value

    def copy(self) -> Jar:
        """A jar of its own with the same cookies, for requests whose answers should leave no trace."""
        copy = Jar(self._learn)
        copy._hosts = {host: dict(jar) for host, jar in self._hosts.items()}
        return copy

    def value(self, host: str, name: str) -> str | None:
        """The value of a cookie, None where there is none."""
        return self._hosts.get(host, {}).get(name)

    def header(self, host: str) -> str:
        """What is sent to a host; empty where it has set nothing."""
        return "; ".join(f"{name}={value}" for name, value in self._hosts.get(host, {}).items())


def _expired(morsel: Any) -> bool:
    """The server takes the cookie back."""
    if re.fullmatch(r"0+|-[0-9]+", str(morsel["max-age"])):
        return True
    try:
        return bool(morsel["expires"]) and parsedate_to_datetime(morsel["expires"]).timestamp() < time.time()
    except (TypeError, ValueError, OverflowError):
        return False
