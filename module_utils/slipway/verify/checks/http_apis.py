# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The check kinds that ask a server's own HTTP interface: `clickhouse` and `prometheus`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlencode

from ..http.client import Request, Response, Trace, parse_url, send
from ..http.wire import HttpError
from ..predicates import MISSING, Predicate, version
from .base import Clause, Facts, Kind, each, flag
from .http import header_map


class _HttpApi(Kind):
    """Requests below a base URL."""

    plain_option = "url"
    required = ("url",)

    def subject(self) -> str:
        """The URL."""
        return str(self.option["url"])

    async def get(self, path: str, trace: Trace, timeout: float, headers: dict[str, str]) -> Response:
        """GET a path below the URL; raises HttpError for any status but 200."""
        base = str(self.option["url"]).rstrip("/")
        given = {**self.option.get("headers", {}), **headers}
        url = parse_url(base + path)._replace(userinfo=self.option["url"].userinfo)
        request = Request(url, headers=given, ca_file=self.option.get("ca_file"))
        response = await send(request, trace, timeout)
        if response.status != 200:
            reason = " ".join(response.text().split())[:200]
            raise HttpError(f"{path.partition('?')[0]} answered {response.status}: {reason}")
        return response


def _at(key: str, name: str) -> Any:
    def get(facts: Facts) -> Any:
        value = facts[key].get(name, MISSING)
        if isinstance(value, Exception):
            raise value
        return value

    return get


def _number(text: str) -> Any:
    """A number where it is one; NaN, nothing divided by nothing, is no value."""
    try:
        return int(text)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            return text
        return MISSING if math.isnan(number) else number


class ClickhouseCheck(_HttpApi):
    """Answers, has the version, and queries give what they should."""

    name = "clickhouse"
    options: ClassVar = {
        "url": parse_url,
        "user": str,
        "password": str,
        "database": str,
        "ca_file": str,
        "headers": header_map,
    }
    expectations: ClassVar = {"ping": flag, "version": version, "rows": None}
    defaults: ClassVar = {"ping": True}

    def clause(self, key: str, expected: Any, where: str) -> list[Clause]:
        """`rows` maps queries to predicates on their first column."""
        if key != "rows":
            return super().clause(key, expected, where)
        return [
            Clause(f"row {sql}", _at(key, sql), Predicate(operand, f"{where}[{sql}]"))
            for sql, operand in each(expected, where).items()
        ]

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """/ping, then queries by GET, which the server itself makes read-only."""
        facts: Facts = {"ping": (await self.get("/ping", trace, timeout, {})).text().strip() == "Ok."}
        if "version" in self.expect:
            facts["version"] = await self._query("select version()", timeout)
        if "rows" in self.expect:
            queries = list(self.expect["rows"])
            answers = await asyncio.gather(
                *(self._query(sql, timeout) for sql in queries), return_exceptions=True
            )
            facts["rows"] = dict(zip(queries, answers))
        return facts

    async def _query(self, sql: str, timeout: float) -> Any:
        headers = {"X-ClickHouse-User": self.option.get("user", "default")}
        if "password" in self.option:
            headers["X-ClickHouse-Key"] = self.option["password"]
        # Older servers know no header for it.
        database = {"database": self.option["database"]} if "database" in self.option else {}
        query = urlencode({"query": sql, "default_format": "TabSeparated", **database})
        lines = (await self.get(f"/?{query}", Trace(), timeout, headers)).text().splitlines()
        return _number(lines[0].split("\t")[0]) if lines else MISSING


class PrometheusCheck(_HttpApi):
    """Ready, its targets up, and expressions give what they should."""

    name = "prometheus"
    options: ClassVar = {"url": parse_url, "ca_file": str, "headers": header_map}
    expectations: ClassVar = {"ready": flag, "targets": None, "targets_down": None, "expressions": None}
    defaults: ClassVar = {"ready": True}

    def clause(self, key: str, expected: Any, where: str) -> list[Clause]:
        """`targets` maps jobs to how many are up, `expressions` PromQL to predicates on its one value."""
        if key not in ("targets", "expressions"):
            return super().clause(key, expected, where)
        plain = "gte" if key == "targets" else "eq"
        return [
            Clause(f"{key[:-1]} {name}", _at(key, name), Predicate(operand, f"{where}[{name}]", plain=plain))
            for name, operand in each(expected, where).items()
        ]

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """/-/ready, the active targets, and each expression."""
        await self.get("/-/ready", trace, timeout, {})
        facts: Facts = {"ready": True}
        if "targets" in self.expect or "targets_down" in self.expect:
            await self._targets(facts, timeout)
        if "expressions" in self.expect:
            names = list(self.expect["expressions"])
            values = await asyncio.gather(
                *(self._value(name, timeout) for name in names), return_exceptions=True
            )
            facts["expressions"] = dict(zip(names, values))
        return facts

    async def _data(self, path: str, timeout: float) -> Any:
        found = (await self.get(path, Trace(), timeout, {})).json()
        return _picked(lambda: found["data"])

    async def _targets(self, facts: Facts, timeout: float) -> None:
        data = await self._data("/api/v1/targets?state=active", timeout)
        facts["targets"], facts["targets_down"] = {}, 0
        for job, up in _picked(
            lambda: [(t["labels"]["job"], t["health"] == "up") for t in data["activeTargets"]]
        ):
            facts["targets"][job] = facts["targets"].get(job, 0) + up
            facts["targets_down"] += not up

    async def _value(self, expression: str, timeout: float) -> Any:
        """The one value of an expression: several series would mean that nobody knows which was meant."""
        data = await self._data(f"/api/v1/query?{urlencode({'query': expression})}", timeout)
        kind, result = _picked(lambda: (data["resultType"], list(data["result"])))
        if kind != "scalar":
            if not result:
                return MISSING
            if len(result) > 1:
                raise HttpError(f"{len(result)} series, expected one; aggregate them, with sum() or max()")
            result = _picked(lambda: result[0]["value"])
        return _picked(lambda: _number(result[1]))


def _picked(get: Callable[[], Any]) -> Any:
    """What `get` finds in an answer; raises HttpError where it is not of the shape that Prometheus gives it."""
    try:
        return get()
    except (KeyError, IndexError, TypeError, AttributeError):
        raise HttpError("what answered is not Prometheus, it has other JSON") from None
