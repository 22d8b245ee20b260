"""How long a verified backup takes beside its parts by direct commands.

Usage: ``python tests/bench/backup.py [rows]``.

The floor is pg_dump, a new database, pg_restore and dropping it: the same programs and options, no checks.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "integration/data")]
import conftest  # noqa: E402, F401  (makes module_utils importable)
from ansible.module_utils.slipway.backup.run import Backup, Options  # noqa: E402
from ansible.module_utils.slipway.postgres.login import Login  # noqa: E402
from data_support import connection, eventually, free_port, sh  # noqa: E402

IMAGE, RUNS = "slipway/postgres:17", 3


def floor(login: Login, directory: Path) -> None:
    (directory / "pgpass").write_text(login.pgpass())
    (directory / "pgpass").chmod(0o600)

    def client(program: str, *options: str) -> None:
        box = [
            "docker",
            "run",
            "--rm",
            "--network",
            "host",
            "--user",
            "0:0",
            "--env",
            f"PGPASSFILE={directory}/pgpass",
        ]
        box += ["--volume", f"{directory}:{directory}", "--entrypoint", program, IMAGE, *login.flags()]
        sh(*box, *options)

    client("pg_dump", "-Fd", "-j2", "--compress=zstd:3", "-f", f"{directory}/dump", "-d", login.db)
    client("createdb", "-T", "template0", "floor")
    client("pg_restore", "-j2", "--exit-on-error", "-d", "floor", f"{directory}/dump")
    client("dropdb", "floor")


def timed(work: t.Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def main(rows: int) -> None:
    """Print one line of JSON: seconds (medians) and their ratio."""
    port = free_port()
    name = f"data-bench-{port}"
    sh("docker", "run", "--detach", "--rm", "--name", name, "--env", "POSTGRES_PASSWORD=bench", "--publish",
       f"127.0.0.1:{port}:5432", IMAGE)  # fmt: skip
    login = Login("127.0.0.1", port, "postgres", "bench", "postgres")
    try:
        eventually(
            lambda: (
                subprocess.run(["docker", "exec", name, "pg_isready", "-q", "-h", "127.0.0.1"]).returncode
                == 0
            )
        )
        with connection(login) as conn:
            conn.execute(
                "CREATE TABLE reviews AS SELECT g AS id, md5(g::text) AS text, g % 5 AS stars, now() AS at"
                f" FROM generate_series(1, {rows}) g"
            )
            conn.execute("ALTER TABLE reviews ADD PRIMARY KEY (id)")
            conn.execute("CREATE INDEX ON reviews (text)")
            conn.execute("CHECKPOINT")
        ours, theirs = [], []
        for number in range(RUNS):
            with tempfile.TemporaryDirectory() as directory:
                theirs.append(timed(lambda: floor(login, Path(directory))))
                backup = Backup(Options(login, f"b{number}", Path(directory) / "backups"))
                ours.append(timed(backup.full))
        mine, direct = statistics.median(ours), statistics.median(theirs)
        ratio = round(mine / direct, 2)
        print(
            json.dumps(
                {"rows": rows, "backup_s": round(mine, 2), "floor_s": round(direct, 2), "ratio": ratio}
            )
        )
    finally:
        sh("docker", "rm", "--force", "--volumes", name, check=False)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000)
