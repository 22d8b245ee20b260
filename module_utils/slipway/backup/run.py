"""Back a database up so that the backup is known to work: dump, restore on trial, compare, then trust it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import time
import typing as t
from pathlib import Path

from ..postgres import manifest as pg_manifest
from ..postgres.login import PSYCOPG_IMPORT_ERROR, Login, connect
from . import store as backup_store
from .programs import ProgramError, Programs, find_server
from .store import IDENTIFIER, Store

with contextlib.suppress(ImportError):
    import psycopg
    from psycopg import sql

DUMP, GLOBALS, MANIFEST, FILES = "dump", "globals.sql", "manifest.json", "files"
#: Workers of pg_dump and pg_restore: enough to overlap reading and compressing, few enough for a busy server.
JOBS = 2
#: A backup this much smaller than the one before it deserves a look.
SHRUNK = 0.5

Gate: t.TypeAlias = "dict[str, t.Any]"


class BackupError(Exception):
    """No backup that can be trusted: what was seen, what helps, and in ``gates`` what failed."""

    def __init__(self, message: str, gates: t.Sequence[Gate] = ()) -> None:
        super().__init__(message)
        self.gates = list(gates)


@dataclasses.dataclass(frozen=True)
class Options:
    """What to back up, and where to. ``client_image`` is empty for the host's programs, or ``auto``."""

    login: Login
    ident: str
    directory: Path
    client_image: str = "auto"
    keep: int = 7
    files: tuple[str, ...] = ()


class Backup:
    """One run: ``plan()`` only looks, ``full()`` makes a verified backup, the other methods are its steps."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.store = Store(options.directory)
        self.ident = options.ident
        self.status: backup_store.Status = {"id": options.ident, "verified": False, "steps": {}}
        self.made = False
        server = find_server(options.login.host, options.login.port)
        self.mounts = server.mounts if server else {}
        image = options.client_image
        if image == "auto":
            image = server.image if server else ""
        self.scratch = self.store.run(self.ident)
        self.programs = Programs(options.login, image, options.directory, self.scratch)

    # --- the whole ----------------------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether a verified, undamaged backup of this id is there already."""
        status = self.store.status(self.ident)
        if not status or not status["verified"] or backup_store.check_sums(self.store.path(self.ident)):
            return False
        self.status = status
        return True

    def plan(self) -> list[Gate]:
        """Look whether a backup would start: server, programs, room. Raises BackupError."""
        self._check_programs()
        with self._connected() as conn:
            return self.room(conn)

    def full(self) -> list[Gate]:
        """Make a verified backup and prune the expired ones; the gates it passed. Raises BackupError.

        Whatever fails, no earlier backup is touched; only a backup that passed every step is marked as
        verified. One that is there already is not made again (``made`` stays false).
        """
        started = time.monotonic()
        self._check_programs()
        with self.store.locked(self.ident), self._connected() as conn:
            self.clear(conn)
            if self.done():
                return []
            self.made = True
            try:
                gates = self.room(conn)
                self.store.remove(self.ident)
                self.dump(conn)
                self.seal()
                gates += self.verify(conn)
            except BaseException:
                # What went wrong first is what a person must read; the next run clears up as well.
                with contextlib.suppress(Exception):
                    self.clear(conn)
                raise
            self.clear(conn)
            self.status["duration_s"] = round(time.monotonic() - started, 2)
            self._save()
            for ident in self.store.expired(self.options.keep):
                self.store.remove(ident)
        return gates

    def result(self) -> dict[str, t.Any]:
        """What is known of the backup, for the play and the report."""
        path = str(self.store.path(self.ident))
        known: dict[str, t.Any] = {
            k: self.status[k] for k in ("size_bytes", "duration_s", "tables", "rows") if k in self.status
        }
        found = {"path": path, "verified": self.status["verified"], **known}
        return {**found, "report": {"backup": {**self.status, "path": path}}} if known else found

    # --- its steps ----------------------------------------------------------------------------------------

    def clear(self, conn: pg_manifest.Connection) -> None:
        """Remove what this run or dead ones left: programs, trial databases, unfinished directories."""
        self.programs.stop()
        for path in self.store.leftovers():
            record = path / "database"
            if record.is_file():
                name = sql.Identifier(record.read_text())
                conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            shutil.rmtree(path)

    def room(self, conn: pg_manifest.Connection) -> list[Gate]:
        """Whether the disks hold the dump, and the trial restore beside the database. Raises BackupError."""
        database = conn.execute("SELECT pg_database_size(current_database())").fetchone()
        needed = int(database[0]) if database else 0
        last = self.store.last_verified()
        dump = int(1.2 * (last["size_bytes"] if last else needed))
        here = next(p for p in (self.store.root, *self.store.root.parents) if p.exists())
        volume = self._data_volume(conn)
        demands = {here: dump}
        if volume:
            same = volume.stat().st_dev == here.stat().st_dev
            demands = {here: dump + needed} if same else {here: dump, volume: int(1.2 * needed)}
        gates = []
        for path, limit in demands.items():
            free = shutil.disk_usage(path).free
            verdict = "pass" if free >= limit else "fail"
            gates.append(_gate("backup disk space", _human(free), f">= {_human(limit)}", verdict, str(path)))
        short = [g for g in gates if g["verdict"] == "fail"]
        if short:
            seen = "; ".join(f"{g['detail']} has {g['value']} free, {g['limit']} are needed" for g in short)
            raise BackupError(f"no room for a backup and its trial restore: {seen}", gates)
        return gates

    def dump(self, conn: pg_manifest.Connection) -> None:
        """Dump database and roles into the partial directory, with a manifest of the very same snapshot."""
        partial, db = self.store.partial(self.ident), self.options.login.db
        partial.mkdir(mode=0o700)
        self.scratch.mkdir(mode=0o700)
        self.programs.prepare()
        number = backup_store.copy_files(self.options.files, partial / FILES)
        with conn.transaction():
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            pg_manifest.settle(conn)
            manifest = pg_manifest.describe(conn)
            snapshot = conn.execute("SELECT pg_export_snapshot()").fetchone()
            assert snapshot is not None  # noqa: S101
            # pg_dump knows zstd since version 16, and is never older than the server.
            compress = "zstd:3" if manifest["server"]["number"] >= 160000 else "5"
            arguments = [
                "--format",
                "directory",
                "--jobs",
                str(JOBS),
                "--compress",
                compress,
                "--snapshot",
                snapshot[0],
            ]
            arguments += ["--lock-wait-timeout", "60s", "--file", str(partial / DUMP)]
            running = [
                self.programs.start("pg_dump", [*arguments, "--dbname", db]),
                self.programs.start(
                    "pg_dumpall",
                    [
                        "--globals-only",
                        "--no-role-passwords",
                        "--file",
                        str(partial / GLOBALS),
                        "--database",
                        db,
                    ],
                ),
            ]
            manifest.update(pg_manifest.contents(conn))
            for program in running:
                self.programs.finish(program)
        tables = manifest["tables"].values()
        backup_store.write_json(
            partial / MANIFEST, {"id": self.ident, "taken": backup_store.now(), **manifest}
        )
        self.status.update(
            created=backup_store.now(),
            database=db,
            database_bytes=manifest["database"]["size_bytes"],
            server=manifest["server"]["version"],
            revision=manifest["revision"],
            tables=len(tables),
            rows=sum(table["rows"] for table in tables),
            files=number,
            size_bytes=backup_store.size(partial),
        )
        self._reached("dumped")

    def seal(self) -> None:
        """Give the partial backup checksums and its final name. It is not verified yet."""
        self._reached("sealed")
        self.store.seal(self.ident, self.status)

    def verify(self, conn: pg_manifest.Connection) -> list[Gate]:
        """Restore on trial and compare with the manifest; only then mark the backup as verified.

        Raises BackupError when anything differs; the backup then stays, marked with the reason.
        """
        started = time.monotonic()
        path = self.store.path(self.ident)
        last = self.store.last_verified()
        manifest = json.loads((path / MANIFEST).read_text())
        name = f"{self.options.login.db[:30]}_verify_{re.sub('[^a-z0-9]', '', self.ident.lower())[-24:]}"
        try:
            self._restore(conn, manifest, name)
            self._reached("restored")
            with connect(self.options.login, f"slipway:verify:{self.ident}", db=name) as restored:
                differences = pg_manifest.compare(manifest, pg_manifest.take(restored))
            # The same bytes that were restored must be those the checksums are of.
            differences += backup_store.check_sums(path)
        except ProgramError as error:
            differences = [str(error)]
        seconds = round(time.monotonic() - started, 2)
        compared = {
            "tables": self.status["tables"],
            "rows": self.status["rows"],
            "seconds": seconds,
        }
        text = f"{compared['tables']} tables, {compared['rows']} rows in {seconds} s"
        if differences:
            self.status["failed"] = differences
            self._save()
            gate = _gate(
                "backup restored and compared", len(differences), "0 differences", "fail", differences[0]
            )
            raise BackupError(
                f"the backup {path} does not restore to what was dumped, so it is not to be relied on: "
                + "; ".join(differences[:20])
                + ". Nothing was changed and earlier backups are untouched; run the same command again, "
                "and look at the disk and the server's log if it repeats",
                [gate],
            )
        self.status["verified"] = True
        self._reached("verified")
        self._save()
        gates = [{**_gate("backup restored and compared", text, "0 differences", "pass"), **compared}]
        limit = int(last["size_bytes"] * SHRUNK) if last and last["id"] != self.ident else 0
        verdict = "pass" if self.status["size_bytes"] >= limit else "warn"
        detail = f"half of the last one, {last['id']}" if last and limit else "the first one"
        gates.append(
            _gate("backup size", _human(self.status["size_bytes"]), f">= {_human(limit)}", verdict, detail)
        )
        return gates

    # --- details ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _connected(self) -> t.Iterator[pg_manifest.Connection]:
        """A connection to the database; what the server complains about inside becomes a BackupError."""
        login = self.options.login
        try:
            with connect(login, f"slipway:backup:{self.ident}") as conn:
                yield conn
        except psycopg.Error as error:
            raise BackupError(f"{login}: {str(error).strip()}") from error
        except ProgramError as error:
            raise BackupError(f"{login}: {error}") from error

    def _restore(self, conn: pg_manifest.Connection, manifest: pg_manifest.Manifest, name: str) -> None:
        """Restore the finished backup into a new database of that name."""
        self.scratch.mkdir(mode=0o700, exist_ok=True)
        self.programs.prepare()
        # Written before the database exists: whoever clears up after a killed run knows exactly what is ours.
        exists = conn.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
        if exists is not None:
            raise BackupError(
                f"the trial restore needs the name {name}, and there is a database of that name that "
                f'slipway did not make: rename it, or drop it with: DROP DATABASE "{name}"'
            )
        (self.scratch / "database").write_text(name)
        conn.execute(pg_manifest.create_database(name, manifest))
        # Without a superuser owners cannot be set; the data are compared all the same.
        superuser = conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        as_is = [] if superuser and superuser[0] else ["--no-owner", "--no-privileges"]
        arguments = ["--exit-on-error", "--jobs", str(JOBS), *as_is, "--dbname", name]
        self.programs.finish(
            self.programs.start("pg_restore", [*arguments, str(self.store.path(self.ident) / DUMP)])
        )

    def _data_volume(self, conn: pg_manifest.Connection) -> Path | None:
        """Where the server's data lie on this host, if they do."""
        try:
            row = conn.execute("SELECT current_setting('data_directory')").fetchone()
        except psycopg.Error:
            return None
        inside = Path(str(row[0])) if row else Path("/")
        for place in (inside, *inside.parents):
            source = Path(self.mounts.get(str(place), ""))
            if str(place) in self.mounts and source.exists():
                return source
        return None

    def _check_programs(self) -> None:
        if not self.programs.image and shutil.which("pg_dump") is None:
            port = self.options.login.port
            raise BackupError(
                f"no container on this host publishes port {port} and there is no pg_dump: install "
                "postgresql-client, or name an image that has it (backup_client_image)"
            )

    def _reached(self, step: str) -> None:
        self.status["steps"][step] = backup_store.now()

    def _save(self) -> None:
        backup_store.write_json(self.store.path(self.ident) / backup_store.STATUS, self.status)


def back_up(params: t.Mapping[str, t.Any], check: bool = False) -> dict[str, t.Any]:
    """Make the backup that ``params``, the options of the module pg_backup, ask for; the module's result.

    With ``check`` nothing is made, and the result says whether it would be. Raises BackupError, StoreError and ProgramError.
    """
    if not IDENTIFIER.match(params["id"]):
        raise BackupError(
            f"id is {params['id']!r}; letters, digits, '.', '_' and '-' are allowed, 63 at most"
        )
    if params["keep"] < 1:
        raise BackupError(f"keep is {params['keep']}; at least 1 backup stays")
    backup = Backup(
        Options(
            Login.from_params(params),
            params["id"],
            Path(params["dir"]),
            params["client_image"],
            params["keep"],
            tuple(params["files"]),
        )
    )
    before = _listed(backup.store)
    if check:
        done = backup.done()
        gates = [] if done else _planned(backup)
        after = before if done else f"{backup.ident}: to be made\n{before}"
        changed = not done
    else:
        gates = backup.full()
        after, changed = _listed(backup.store), backup.made
    return {
        "changed": changed,
        "gates": gates,
        "diff": {"before": before, "after": after},
        **backup.result(),
    }


def _planned(backup: Backup) -> list[Gate]:
    """The gates of a backup that could start now; a server or library that is still to come is no error."""
    reason = "python3-psycopg is not installed yet"
    if not PSYCOPG_IMPORT_ERROR:
        try:
            return backup.plan()
        except BackupError as error:
            if error.gates:
                raise
            reason = str(error)
    return [_gate("backup possible", "unknown", "server answers", "inconclusive", reason)]


def _listed(store: Store) -> str:
    """The backups there are, the newest first, as text for a diff."""
    return "".join(f"{s['id']}: {'verified' if s['verified'] else 'not verified'}\n" for s in store.all())


def _gate(name: str, value: str | int, limit: str, verdict: str, detail: str = "") -> Gate:
    return {"name": name, "value": value, "limit": limit, "verdict": verdict, "detail": detail}


def _human(number: float) -> str:
    """Bytes as a person reads them: ``1.5 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
