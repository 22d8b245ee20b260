"""Grade what squawk finds in pending migrations, and look for what squawk does not."""

from __future__ import annotations

import re
import typing as t

#: Breaks the release that still runs, or takes data away: only when the revision is declared to do that.
CONTRACT = "contract"
FAIL, WARN, OFF = "fail", "warn", "off"

GRADES: dict[str, str] = {
    "ban-drop-column": CONTRACT,
    "ban-drop-table": CONTRACT,
    "ban-drop-view": CONTRACT,
    "ban-drop-database": CONTRACT,
    "renaming-column": CONTRACT,
    "renaming-table": CONTRACT,
    "adding-not-nullable-field": CONTRACT,
    "adding-required-field": CONTRACT,
    "adding-serial-primary-key-field": FAIL,
    "ban-concurrent-index-creation-in-transaction": FAIL,
    "ban-truncate-cascade": FAIL,
    # slipway sets the timeouts itself, and the tools keep the books that make a second run possible.
    "require-lock-timeout": OFF,
    "require-statement-timeout": OFF,
    "require-timeout-settings": OFF,
    "prefer-robust-stmts": OFF,
    "transaction-nesting": OFF,
}

#: squawk does not look into these. Pattern on one statement without its texts -> (grade, what it means).
BLIND: dict[str, tuple[re.Pattern[str], str, str]] = {
    "update-without-where": (
        re.compile(r"^update\b(?!.*\bwhere\b)", re.I | re.S),
        WARN,
        "rewrites every row in the migration's transaction: backfill in batches after the release",
    ),
    "delete-without-where": (
        re.compile(r"^delete\b(?!.*\bwhere\b)", re.I | re.S),
        FAIL,
        "deletes every row",
    ),
    "truncate": (re.compile(r"^truncate\b", re.I), FAIL, "deletes every row and locks out readers"),
    "lock-table": (re.compile(r"^lock\b", re.I), WARN, "holds the lock to the end of the transaction"),
    "table-rewrite": (
        re.compile(r"^(vacuum\s*\(?\s*full|cluster)\b", re.I),
        FAIL,
        "locks out readers and writers",
    ),
    "opaque-block": (re.compile(r"^do\b", re.I), WARN, "cannot be checked: nothing looks into a DO block"),
}

#: One statement's pieces: comments, quoted texts, dollar-quoted texts, the end, anything else.
TOKEN = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<text>'(?:[^']|'')*'|(?P<tag>\$\w*\$).*?(?P=tag))|(?P<end>;)|(?P<rest>.)",
    re.S,
)
RUNNING = re.compile(r"^-- Running upgrade\s+(?:\S+\s+)?->\s+(?P<revision>[^,\s]+)", re.M)

Finding: t.TypeAlias = "dict[str, t.Any]"
Gate: t.TypeAlias = "dict[str, t.Any]"


def statements(sql: str) -> list[tuple[int, str]]:
    """The statements of a script with the line each begins on (from 1), without comments and quoted texts."""
    found: list[tuple[int, str]] = []
    text, start = "", 0
    for token in TOKEN.finditer(sql):
        if token["end"] or token["comment"]:
            text += "" if token["end"] else " "
            if token["end"] and text.strip():
                found.append((start, " ".join(text.split())))
            text = "" if token["end"] else text
            continue
        if not text.strip() and (token["rest"] or "x").strip():
            start, text = sql.count("\n", 0, token.start()) + 1, ""
        text += "''" if token["text"] else token["rest"]
    return [*found, (start, " ".join(text.split()))] if text.strip() else found


def blind_spots(sql: str) -> list[Finding]:
    """What squawk lets pass, in the form of its findings."""
    found = []
    for line, statement in statements(sql):
        for rule, (pattern, _grade, meaning) in BLIND.items():
            if pattern.search(statement):
                found.append({"line": line - 1, "rule_name": rule, "message": f"{statement[:60]} {meaning}"})
    return found


def revision_at(sql: str, line: int) -> str:
    """The revision whose SQL a line (from 0) belongs to; empty before the first or when it is not told."""
    revision = ""
    for marker in RUNNING.finditer(sql):
        if sql.count("\n", 0, marker.start()) <= line:
            revision = marker["revision"]
    return revision


def grade(
    sql: str,
    findings: t.Iterable[Finding],
    contract: t.Collection[str] = (),
    grades: t.Mapping[str, str] | None = None,
) -> list[Gate]:
    """One gate for each rule that was broken, or a single passed one.

    ``findings`` are squawk's (lines from 0). A ``contract`` finding fails unless its revision is in
    ``contract``. ``grades`` overrides the table, rule by rule.
    """
    table = {**{rule: entry[1] for rule, entry in BLIND.items()}, **GRADES, **(grades or {})}
    broken: dict[tuple[str, str], list[str]] = {}
    for finding in [*findings, *blind_spots(sql)]:
        rule = finding["rule_name"]
        # Matters of taste (prefer-...) delay nobody's release.
        graded = table.get(rule, OFF if rule.startswith("prefer-") else WARN)
        revision = revision_at(sql, finding["line"])
        where = f"{revision or 'line ' + str(finding['line'] + 1)}: {finding['message']}"
        if graded == CONTRACT:
            graded = WARN if revision in contract else FAIL
            if graded == FAIL:
                where += f" It breaks the releases before this one. If none of them runs any more, declare it: {revision}"
        if graded != OFF:
            broken.setdefault((rule, graded), []).append(where)
    gates = [
        {
            "name": f"migration lint {rule}",
            "value": len(places),
            "limit": 0,
            "verdict": verdict,
            "detail": places[0],
        }
        for (rule, verdict), places in sorted(broken.items())
    ]
    return gates or [{"name": "migration lint", "value": 0, "limit": 0, "verdict": "pass"}]


def failures(gates: t.Iterable[Gate]) -> list[str]:
    """What stops the release, one sentence for each gate."""
    return [
        f"{g['name'].removeprefix('migration lint ')} ({g['detail']})"
        for g in gates
        if g["verdict"] == "fail"
    ]
