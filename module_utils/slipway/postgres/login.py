"""How slipway's modules reach a PostgreSQL server: the arguments, the connection, the password file."""

from __future__ import annotations

import traceback
import typing as t

try:
    import psycopg

    PSYCOPG_IMPORT_ERROR: str | None = None
except ImportError:
    PSYCOPG_IMPORT_ERROR = traceback.format_exc()

#: The arguments of every module that logs in.
LOGIN_SPEC: dict[str, dict[str, t.Any]] = {
    "login_host": {"type": "str", "default": "127.0.0.1"},
    "login_port": {"type": "int", "default": 5432},
    "login_user": {"type": "str", "default": "postgres"},
    "login_password": {"type": "str", "no_log": True},
    "login_db": {"type": "str"},
}


class Login(t.NamedTuple):
    """Where a database is and who logs in."""

    host: str
    port: int
    user: str
    password: str
    db: str

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> Login:
        """The login in a module's parameters (``LOGIN_SPEC``)."""
        return cls(
            params["login_host"],
            params["login_port"],
            params["login_user"],
            params["login_password"] or "",
            params["login_db"] or "",
        )

    def pgpass(self) -> str:
        """The line of a libpq password file that lets this user into every database of the server."""
        fields = (self.host, str(self.port), "*", self.user, self.password)
        return ":".join(f if f == "*" else f.replace("\\", "\\\\").replace(":", "\\:") for f in fields) + "\n"

    def flags(self) -> list[str]:
        """The options of PostgreSQL's programs, without the database; the password is never among them."""
        return ["--host", self.host, "--port", str(self.port), "--username", self.user, "--no-password"]

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.db}"


def connect(login: Login, name: str, db: str = "") -> psycopg.Connection[t.Any]:
    """An autocommit connection without timeouts of the server's making.

    ``name`` is shown in pg_stat_activity; ``db`` is another database than the login's own.
    Raises psycopg.Error.
    """
    conn = psycopg.connect(
        host=login.host,
        port=login.port,
        user=login.user,
        password=login.password,
        dbname=db or login.db,
        application_name=name[:63],
        connect_timeout=10,
        client_encoding="utf8",
        keepalives_idle=30,
        autocommit=True,
        prepare_threshold=None,
    )
    for setting in ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"):
        # transaction_timeout is new in PostgreSQL 17; asking pg_settings keeps older servers quiet.
        conn.execute("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = %s", [setting])
    return conn
