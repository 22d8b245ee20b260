# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of check by name. A new kind is a class and a line here."""

from __future__ import annotations

from .base import Kind
from .host import ContainerCheck, DiskCheck, SystemdCheck
from .http import HttpCheck, TcpCheck
from .postgres import PostgresCheck
from .redis import RedisCheck
from .tls import TlsCheck

KINDS: dict[str, type[Kind]] = {
    kind.name: kind
    for kind in (
        HttpCheck,
        TcpCheck,
        TlsCheck,
        PostgresCheck,
        RedisCheck,
        ContainerCheck,
        SystemdCheck,
        DiskCheck,
    )
}
