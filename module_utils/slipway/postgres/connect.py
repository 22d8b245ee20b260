# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Connections to PostgreSQL for work that may take hours: no inherited timeouts, no pooler in between."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass, field
from typing import Any

from ..masking.redactor import Redactor
from .sql import Refused, ident, literal

PSYCOPG_ERROR: str | None
try:
    # "as psycopg" exports the name: the other cores take it from here, where its absence is handled.
    import psycopg as psycopg
    from psycopg.adapt import Loader
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.pq import Format
    from psycopg.rows import dict_row

    PSYCOPG_ERROR = None
except ImportError:
    psycopg = None
    PSYCOPG_ERROR = traceback.format_exc()

APPLICATION = "slipway"
# A role or database may carry its own; a build that is cut short by one leaves an INVALID index.
_SESSION = {
    "lock_timeout": "0",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "standard_conforming_strings": "on",
    "client_min_messages": "notice",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # Compiling a query about the catalog takes longer than answering it: a second against milliseconds.
    "jit": "off",
}

_UNREADABLE_DSN = (
    "dsn cannot be read (it is not shown here, it may hold a password): write "
    "postgresql://user:password@host:5432/database, in which special characters of the password are written "
    "with a percent sign (@ is %40, % is %25, / is %2F, : is %3A), or key=value pairs, in which a value with "
    "blanks stands in single quotes"
)


def connection_arguments() -> dict[str, Any]:
    """Return the argument_spec of a connection; meanings and aliases are community.postgresql's."""
    return {
        "login_host": {"type": "str", "default": "", "aliases": ["host"]},
        "login_port": {"type": "int", "default": 5432, "aliases": ["port"]},
        "login_user": {"type": "str", "default": "postgres", "aliases": ["login"]},
        "login_password": {"type": "str", "default": "", "no_log": True},
        "login_db": {"type": "str", "default": "", "aliases": ["db", "database"]},
        "login_unix_socket": {"type": "str", "default": "", "aliases": ["unix_socket"]},
        "ssl_mode": {
            "type": "str",
            "default": "prefer",
            "choices": ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"],
        },
        "ca_cert": {"type": "str", "aliases": ["ssl_rootcert"]},
        "ssl_cert": {"type": "path"},
        "ssl_key": {"type": "path", "no_log": False},
        "connect_timeout": {"type": "int", "default": 10},
        "dsn": {"type": "str", "no_log": True},
        "session_role": {"type": "str"},
    }


@dataclass
class Facts:
    """What the server says about itself and about us."""

    version: int
    database: str
    user: str
    read_only: str | None
    can_temp: bool
    sees_activity: bool
    warnings: list[str] = field(default_factory=list)


class Target:
    """A database, and how to reach it.

    `params` are an Ansible module's, as declared by connection_arguments().
    """

    def __init__(self, params: dict[str, Any]) -> None:
        self.role = params.get("session_role")
        self.settings: dict[str, str] = {
            key: str(value) for key, value in (params.get("settings") or {}).items()
        }
        wanted = {
            "host": params.get("login_unix_socket") or params.get("login_host"),
            "port": params.get("login_port"),
            "user": params.get("login_user"),
            "dbname": params.get("login_db"),
            "sslmode": params.get("ssl_mode"),
            "sslrootcert": params.get("ca_cert"),
            "sslcert": params.get("ssl_cert"),
            "sslkey": params.get("ssl_key"),
        }
        self.dsn = params.get("dsn") or ""
        if self.dsn:
            wanted = {}
        wanted["password"] = params.get("login_password")
        # However short they are: libpq repeats a password where it takes it for a host.
        self._redactor = Redactor({*_secrets_of(self.dsn), params.get("login_password") or ""}, shortest=1)
        self._sessions_are_ours = False
        self.keywords = {key: value for key, value in wanted.items() if value not in (None, "")}
        self.keywords["connect_timeout"] = params.get("connect_timeout") or 10

    def connect(self, purpose: str = "", as_role: bool = True) -> Any:
        """Open a connection in autocommit mode whose session has no timeouts.

        With as_role=False it stays the role that logged in, whatever session_role says.
        Raises Refused when it cannot connect, and behind a pooler that shares sessions.
        """
        connection = self._open(purpose)
        try:
            # Before anything is set: what is set in a shared session stays there for somebody else.
            self._refuse_shared_sessions(connection)
            self._prepare(connection, as_role)
        except psycopg.Error as error:
            connection.close()
            raise Refused(f"cannot prepare the session: {self._masked(error)}") from None
        except Refused:
            connection.close()
            raise
        return connection

    def _open(self, purpose: str) -> Any:
        """Open a connection and leave its session as it is."""
        name = f"{APPLICATION}:{purpose}" if purpose else APPLICATION
        try:
            connection = psycopg.connect(
                self.dsn,
                **self.keywords,
                autocommit=True,
                prepare_threshold=None,
                row_factory=dict_row,
                # A database in SQL_ASCII would hand out bytes instead of text.
                client_encoding="utf8",
                application_name=name.encode()[:NAME_LIMIT].decode(errors="ignore"),
                keepalives=1,
                keepalives_idle=15,
                keepalives_interval=5,
                keepalives_count=4,
            )
        except psycopg.Error as error:
            raise Refused(f"cannot connect to PostgreSQL: {self._masked(error)}") from None
        _accept_any_text(connection)
        return connection

    def _prepare(self, connection: Any, as_role: bool) -> None:
        """Make the session that of the wanted role, without timeouts, with the settings asked for."""
        if self.role and as_role:
            connection.execute(f"SET ROLE {ident(self.role)}", binary=True)
        known = connection.execute(
            "SELECT name FROM pg_catalog.pg_settings WHERE name = ANY(%s)", [list(_SESSION)]
        ).fetchall()
        wanted = {row["name"]: _SESSION[row["name"]] for row in known}
        wanted.update(self.settings)
        calls = ", ".join(
            f"pg_catalog.set_config({literal(key)}, {literal(value)}, false)" for key, value in wanted.items()
        )
        connection.execute(f"SELECT {calls}", binary=True)

    def _masked(self, error: Exception) -> str:
        return self._redactor.text(str(error).strip())

    def facts(self, connection: Any) -> Facts:
        """Ask the server what can be done here."""
        row = connection.execute(
            """
            SELECT current_setting('server_version_num')::int AS version, current_database() AS database,
                   current_user AS "user", pg_is_in_recovery() AS standby,
                   current_setting('default_transaction_read_only') AS read_only,
                   has_database_privilege(current_database(), 'TEMP') AS can_temp,
                   pg_has_role('pg_read_all_stats', 'USAGE') AS sees_activity
            """
        ).fetchone()
        reason = None
        if row["standby"]:
            reason = "the server is a standby (in recovery): connect to the primary"
        elif row["read_only"] == "on":
            reason = (
                "sessions of this role are read-only (default_transaction_read_only is on): use another, or "
                f"ALTER ROLE {ident(row['user'])} RESET default_transaction_read_only"
            )
        facts = Facts(
            row["version"], row["database"], row["user"], reason, row["can_temp"], row["sees_activity"]
        )
        if not facts.sees_activity:
            facts.warnings.append(
                f"role {facts.user} cannot see since when other roles' transactions are open: "
                f"GRANT pg_monitor TO {ident(facts.user)} to have long transactions found before a build"
            )
        return facts

    def _refuse_shared_sessions(self, connection: Any) -> None:
        """Raise Refused when a pooler gives one server session to several of us; asked once per Target."""
        if self._sessions_are_ours:
            return
        first = _pid(connection)
        if connection.info.backend_pid != first:
            self._refuse_pooler(connection, first)
        self._sessions_are_ours = True

    def _refuse_pooler(self, connection: Any, first: int) -> None:
        # A pooler answers. In session mode a client keeps its server connection; in transaction mode an idle
        # client's is given to the next one who asks.
        advice = (
            "the connection goes through a pooler in transaction mode (pgbouncer, Supavisor), where session "
            "settings and locks belong to nobody: give the server's own address (Supabase: port 5432)"
        )
        other = self._open("pooler check")
        try:
            for _attempt in range(3):
                with other.transaction():
                    # In this order: a pool of a single connection has none left for the second question.
                    if _pid(other) == first or _pid(connection) != first:
                        raise Refused(advice)
        except psycopg.Error as error:
            raise Refused(f"{advice} ({self._masked(error)})") from None
        finally:
            other.close()


def _accept_any_text(connection: Any) -> None:
    """Let text that is no UTF-8 be read, with marks in place of what cannot be.

    Names of roles and databases are shared by databases of all encodings, and not converted.
    """

    class AnyText(Loader):  # type: ignore[misc]
        def load(self, data: Any) -> str:
            return bytes(data).decode(errors="replace")

    class AnyTextBinary(AnyText):
        format = Format.BINARY

    for kind in ("text", "varchar", "bpchar", "name"):
        connection.adapters.register_loader(kind, AnyText)
        connection.adapters.register_loader(kind, AnyTextBinary)


def _pid(connection: Any) -> int:
    return int(connection.execute("SELECT pg_catalog.pg_backend_pid() AS pid").fetchone()["pid"])


def _secrets_of(dsn: str) -> set[str]:
    """Return the passwords in a dsn.

    Raises Refused when it cannot be read, or when a part of the password would be taken for something else
    and so be shown in messages.
    """
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.Error:
        raise Refused(_UNREADABLE_DSN) from None
    host, port = str(parts.get("host") or ""), str(parts.get("port") or "")
    database = str(parts.get("dbname") or "") if "://" in dsn else ""
    if "@" in host or "@" in database or not re.fullmatch(r"[\d,]*", port):
        raise Refused(_UNREADABLE_DSN)
    return {str(parts[key]) for key in ("password", "sslpassword") if parts.get(key)}


NAME_LIMIT = 63


def describe(error: Exception) -> str:
    """Return a database error as one line: message, detail and hint."""
    diag = getattr(error, "diag", None)
    if diag is None or not diag.message_primary:
        return " ".join(str(error).split()) or type(error).__name__
    parts = [diag.message_primary, diag.message_detail, diag.message_hint and f"(hint: {diag.message_hint})"]
    return " ".join(part for part in parts if part)
