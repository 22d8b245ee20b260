# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Says what the indexes of a database are worth, in one call: what the module pg_indexes_info does. Changes nothing."""

from __future__ import annotations

from typing import Any

from ..postgres.connect import Target, describe, psycopg
from ..postgres.sql import Refused
from .audit import (
    describe_indexes,
    describe_tables,
    duplicates,
    percent,
    read,
    read_hours,
    read_scans,
    redundant,
    stats_age,
    tiers_due,
)
from .gates import audit_gates
from .query_budget import check_budget
from .report import Record, added_by
from .spec import parse_all


def look(params: dict[str, Any]) -> dict[str, Any]:
    """Return what there is, beside what `params`, the options of the module pg_indexes_info, expect: the module's result.

    Warnings are in it. Raises Refused when the database can't be looked at.
    """
    specs = parse_all(params["indexes"])
    hours = read_hours(params["tier_hours"])
    record = Record(params["record"], None).read()
    target = Target(params)
    connection = target.connect("audit")
    try:
        facts = target.facts(connection)
        data = read(connection, facts.version, params["schemas"])
        scans = []
        for replica in params["replicas"]:
            other = Target(replica_params(params, replica)).connect("audit")
            scans.append(read_scans(other))
            other.close()
        queries = [check_budget(connection, budget) for budget in params["queries"]]
    except psycopg.Error as error:
        raise Refused(f"cannot read what there is: {describe(error)}") from error
    finally:
        connection.close()
    entries = describe_indexes(data, scans, params["low_scans"], params["min_stats_age"] * 3600.0)
    server = data["server"]
    result: dict[str, Any] = {
        "changed": False,
        "indexes": entries,
        "tables": describe_tables(data),
        "invalid": [item for item in entries if not (item["valid"] or item["building"])]
        + [
            {"schema": "pg_toast", "name": row["name"], "leftover": True, "size_bytes": row["size_bytes"]}
            for row in data["toast"]
        ],
        "duplicates": duplicates(data["indexes"]),
        "redundant": redundant(data["indexes"]),
        "foreign_keys": data["foreign_keys"],
        "queries": queries,
        "tiers": tiers_due(specs, entries, record["tiers"], hours),
        "added": {release: added_by(record, release) for release in record["releases"]},
        "totals": {
            "indexes": len(entries),
            "size_bytes": sum(item["size_bytes"] for item in entries if not item["partitioned"]),
            "stats_age_h": round(stats_age(server) / 3600, 1),
            "cache_hit_pct": percent(
                server["blks_hit"], (server["blks_hit"] or 0) + (server["blks_read"] or 0)
            ),
        },
    }
    result["gates"] = audit_gates(result, params)
    kept = ("totals", "invalid", "duplicates", "redundant", "foreign_keys", "queries", "tiers", "indexes")
    result["report"] = {"indexes": {"audit": {key: result[key] for key in kept}}}
    result["warnings"] = facts.warnings
    return result


def replica_params(params: dict[str, Any], replica: dict[str, Any]) -> dict[str, Any]:
    """Return how to reach a replica: as the primary, at its own address."""
    # Neither a socket nor a dsn, both of which lead to the primary whatever the host is.
    own = {key: value for key, value in replica.items() if value is not None}
    return {**params, "dsn": None, "login_unix_socket": "", **own}
