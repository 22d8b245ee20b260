# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Does a query use the index it was given, and is it fast enough: asked of the planner, then measured, read-
only."""

from __future__ import annotations

from statistics import median
from typing import Any

from ..postgres.connect import describe, psycopg

RUNS = 3
_DEFAULT_BOUND_MS = 10_000


def index_names(plan: Any) -> set[str]:
    """Return the names of all indexes in an EXPLAIN (FORMAT JSON) plan."""
    if isinstance(plan, list):
        return set().union(*(index_names(item) for item in plan)) if plan else set()
    if not isinstance(plan, dict):
        return set()
    names = {plan["Index Name"]} if "Index Name" in plan else set()
    return names.union(*(index_names(value) for value in plan.values()))


def check_budget(connection: Any, budget: dict[str, Any]) -> dict[str, Any]:
    """Answer one budget {name, query, params, must_use, max_ms}.

    `usable`: the planner can use the index when a sequential scan is made unattractive (a small table is
    rightly scanned). `chosen`: it does as things are. `ms`: median execution time of three runs in a read-
    only
      transaction,
    each ended after ten times max_ms (at least 1 s; 10 s when there is no max_ms).
    """
    query, params = budget["query"].strip().rstrip(";"), budget.get("params") or None
    must, limit = budget.get("must_use"), budget.get("max_ms")
    bound = max(1000, int(limit * 10)) if limit else _DEFAULT_BOUND_MS
    answer: dict[str, Any] = {
        "name": budget["name"],
        "must_use": must,
        "max_ms": limit,
        "usable": None,
        "chosen": None,
        "ms": None,
        "indexes": [],
        "verdict": "pass",
        "detail": "",
    }
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION READ ONLY")
            # Planned and run as the application's sessions do.
            connection.execute("SET LOCAL jit TO DEFAULT")
            connection.execute(f"SET LOCAL statement_timeout = {bound}")
            names = index_names(_explain(connection, "FORMAT JSON", query, params))
            answer["indexes"] = sorted(names)
            if must:
                accepted = _accepted(connection, must)
                answer["chosen"] = bool(names & accepted)
                connection.execute("SET LOCAL enable_seqscan = off")
                answer["usable"] = answer["chosen"] or bool(
                    index_names(_explain(connection, "FORMAT JSON", query, params)) & accepted
                )
                connection.execute("SET LOCAL enable_seqscan = on")
            times = [
                _explain(connection, "ANALYZE, TIMING OFF, FORMAT JSON", query, params)[0]["Execution Time"]
                for _ in range(RUNS)
            ]
            answer["ms"] = round(median(times), 3)
    except psycopg.errors.QueryCanceled:
        answer.update(verdict="fail", detail=f"ended after {bound} ms without an answer")
        return answer
    except (psycopg.Error, TypeError, ValueError) as error:
        answer.update(verdict="fail", detail=f"cannot be explained: {describe(error)}")
        return answer
    if must and not answer["usable"]:
        used = ", ".join(answer["indexes"]) or "no index"
        answer.update(verdict="fail", detail=f"the planner cannot use {must} for it (it uses {used})")
    elif limit is not None and answer["ms"] > limit:
        answer.update(verdict="fail", detail=f"takes {answer['ms']} ms, {limit} ms are allowed")
    elif must and not answer["chosen"]:
        used = ", ".join(answer["indexes"]) or "a sequential scan"
        answer.update(
            verdict="warn", detail=f"{must} is usable, but with the rows there are the planner takes {used}"
        )
    return answer


def _explain(connection: Any, options: str, query: str, params: Any) -> Any:
    # binary=True makes psycopg use the extended protocol, in which a second statement is an error.
    row = connection.execute(f"EXPLAIN ({options}) {query}", params, binary=True).fetchone()
    return row["QUERY PLAN"]


def _accepted(connection: Any, name: str) -> set[str]:
    """Return the index's name, and the names of its parts when it belongs to a partitioned table."""
    rows = connection.execute(
        "SELECT p.relname FROM pg_class c CROSS JOIN LATERAL pg_partition_tree(c.oid) t "
        "JOIN pg_class p ON p.oid = t.relid WHERE c.relkind = 'I' AND c.relname = %s",
        [name.split(".")[-1]],
    ).fetchall()
    return {name.split(".")[-1], *(row["relname"] for row in rows)}
