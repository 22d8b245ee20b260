# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of check by name. A new kind is a class and a line here."""

from __future__ import annotations

from .amqp import AmqpCheck
from .base import Kind
from .dns import DnsCheck
from .host import ContainerCheck, DiskCheck, SystemdCheck
from .http import HttpCheck, TcpCheck
from .http_apis import ClickhouseCheck, PrometheusCheck
from .mongodb import MongodbCheck
from .postgres import PostgresCheck
from .redis import RedisCheck
from .tls import TlsCheck

KINDS: dict[str, type[Kind]] = {
    kind.name: kind
    for kind in (
        HttpCheck,
        TcpCheck,
        DnsCheck,
        TlsCheck,
        PostgresCheck,
        RedisCheck,
        ContainerCheck,
        SystemdCheck,
        DiskCheck,
        AmqpCheck,
        MongodbCheck,
        ClickhouseCheck,
        PrometheusCheck,
    )
}
