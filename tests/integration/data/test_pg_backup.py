"""Backups of a real server: under writes, damaged, killed, watched for secrets."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import typing as t
from pathlib import Path

import psycopg
import pytest
from ansible.module_utils.slipway.backup import run as pg_backup
from ansible.module_utils.slipway.backup.run import Backup, BackupError, Options
from ansible.module_utils.slipway.backup.store import Store, StoreError
from ansible.module_utils.slipway.postgres import manifest as pg_manifest
from ansible.module_utils.slipway.postgres.login import Login
from data_support import PASSWORD, Module, connection, databases, eventually, login_arguments, run, sh

SEED = r'''
CREATE SCHEMA "Odd Names";
CREATE TYPE public.mood AS ENUM ('sad', 'ok');
CREATE TABLE public.orders (id bigserial PRIMARY KEY, x text, total numeric(12,2),
  at timestamptz DEFAULT now(), f double precision, j jsonb, b bytea, a int[], m public.mood,
  twice int GENERATED ALWAYS AS (7) STORED);
INSERT INTO public.orders (x, total, f, j, b, a, m)
  SELECT 'x' || g, g / 7.0, random(), jsonb_build_object('g', g), decode(md5(g::text), 'hex'), ARRAY[g, g],
  'ok' FROM generate_series(1, 3000) g;
CREATE TABLE "Odd Names"."Table.with ""quotes""" (x int, y text);
INSERT INTO "Odd Names"."Table.with ""quotes""" VALUES (1, NULL), (2, '%s {} \'), (2, '%s {} \');
CREATE TABLE public.empty (id int);
CREATE TABLE public.log (day date NOT NULL, t text) PARTITION BY RANGE (day);
CREATE TABLE public.log_1 PARTITION OF public.log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO public.log SELECT '2026-03-01', 'a' FROM generate_series(1, 50);
CREATE TABLE public.child (extra int) INHERITS (public.empty);
INSERT INTO public.child VALUES (1, 2);
CREATE INDEX orders_x ON public.orders (lower(x)) WHERE total > 5;
CREATE MATERIALIZED VIEW public.sums AS SELECT count(*) FROM public.orders;
CREATE VIEW public.some AS SELECT * FROM public.orders WHERE total > 5;
CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t BEFORE UPDATE ON public.orders FOR EACH ROW EXECUTE FUNCTION public.f();
CREATE TABLE public.alembic_version (version_num varchar(32));
INSERT INTO public.alembic_version VALUES ('ab12');
CREATE EXTENSION vector;
CREATE TABLE public.things (id int, v vector(3));
INSERT INTO public.things VALUES (1, '[1,2,3]');
CREATE INDEX ON public.things USING hnsw (v vector_l2_ops);
SELECT lo_from_bytea(0, 'a large object');
'''


@pytest.fixture
def shop(db: Login) -> Login:
    with connection(db) as conn:
        conn.execute(SEED)
    return db


def arguments(login: Login, directory: Path, ident: str, **more: t.Any) -> dict[str, t.Any]:
    return {**login_arguments(login), "dir": str(directory), "id": ident, **more}


def prepared(login: Login, directory: Path, ident: str) -> tuple[Backup, psycopg.Connection[t.Any]]:
    """A backup dumped but not sealed yet."""
    directory.mkdir(exist_ok=True)
    backup = Backup(Options(login, ident, directory))
    conn = connection(login)
    backup.dump(conn)
    return backup, conn


def verdicts(result: dict[str, t.Any]) -> dict[str, str]:
    return {gate["name"]: gate["verdict"] for gate in result["gates"]}


def test_a_backup_equals_its_snapshot_while_others_write(shop: Login, tmp_path: Path) -> None:
    stop, written = threading.Event(), [0]

    def write() -> None:
        with connection(shop) as conn:
            while not stop.is_set():
                conn.execute("INSERT INTO public.orders (x) SELECT 'new' FROM generate_series(1, 5)")
                conn.execute("UPDATE public.orders SET total = total + 1 WHERE id = 1")
                written[0] += 5

    extra = tmp_path / "environment"
    extra.write_text("SECRET_KEY=1\n")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        result = run("pg_backup", arguments(shop, tmp_path / "b", "r1", files=[str(extra)]))
    finally:
        stop.set()
        writer.join()
    assert result.get("verified"), result
    assert result["changed"] and "fail" not in verdicts(result).values()
    assert verdicts(result)["backup restored and compared"] == "pass"
    path = tmp_path / "b" / "r1"
    manifest = json.loads((path / "manifest.json").read_text())
    with connection(shop) as conn:
        live = conn.execute("SELECT count(*) FROM public.orders").fetchone()
    assert live is not None
    assert written[0] > 50, "nobody wrote during the backup"
    assert manifest["tables"]["public.orders"]["rows"] < live[0]
    assert manifest["tables"]['Odd Names.Table.with "quotes"']["rows"] == 3
    assert manifest["tables"]["public.log_1"]["rows"] == 50
    assert manifest["tables"]["public.empty"]["rows"] == 0, "rows of an inheriting table were counted twice"
    assert manifest["large_objects"]["rows"] == 1
    assert manifest["revision"] == {"public.alembic_version": "ab12"}
    assert manifest["extensions"].keys() == {"plpgsql", "vector"}
    assert (path / "globals.sql").read_text().count("CREATE ROLE keeper")
    assert (path / "files" / extra.relative_to("/")).read_text() == "SECRET_KEY=1\n"
    sh("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=path)
    modes = {p.stat().st_mode & 0o077 for p in (tmp_path / "b").iterdir()}
    assert modes == {0} or (path.stat().st_mode & 0o077) == 0
    assert not [name for name in databases(shop) if "_verify_" in name]
    assert {p.name for p in (tmp_path / "b").iterdir()} == {"r1", ".lock"}

    before = (path / "status.json").stat().st_mtime_ns
    again = run("pg_backup", arguments(shop, tmp_path / "b", "r1", files=[str(extra)]))
    assert again["changed"] is False and again["verified"] is True
    assert (path / "status.json").stat().st_mtime_ns == before


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [halve, flip, empty, Path.unlink])
def test_a_damaged_dump_is_never_verified(
    shop: Login, tmp_path: Path, damage: t.Callable[[Path], None]
) -> None:
    """The damage is there before the checksums are made, so only the trial restore can see it."""
    backup, conn = prepared(shop, tmp_path / "b", "r1")
    member = max((tmp_path / "b/.partial-r1/dump").glob("*.dat.*"), key=lambda p: p.stat().st_size)
    damage(member)
    backup.seal()
    with pytest.raises(BackupError) as failed:
        backup.verify(conn)
    assert "not to be relied on" in str(failed.value)
    assert [g["verdict"] for g in failed.value.gates] == ["fail"]
    status = backup.store.status("r1")
    assert status is not None and status["verified"] is False and status["failed"]
    backup.clear(conn)
    assert not [name for name in databases(shop) if "_verify_" in name]


def test_damage_after_the_backup_is_seen_and_the_backup_made_again(shop: Login, tmp_path: Path) -> None:
    assert run("pg_backup", arguments(shop, tmp_path / "b", "r1"))["changed"]
    flip(next((tmp_path / "b/r1/dump").glob("*.dat.*")))
    again = run("pg_backup", arguments(shop, tmp_path / "b", "r1"))
    assert again["changed"] and again["verified"]


def test_one_changed_value_is_found(shop: Login, tmp_path: Path) -> None:
    """What a restore with the right number of rows hides."""
    backup, conn = prepared(shop, tmp_path / "b", "r1")
    manifest = json.loads((tmp_path / "b/.partial-r1/manifest.json").read_text())
    conn.execute("UPDATE public.orders SET f = f + 1e-12 WHERE id = 77")
    conn.execute("DROP INDEX orders_x")
    conn.execute("SELECT setval('public.orders_id_seq', 5)")
    conn.execute("SELECT lo_put(oid, 0, 'B') FROM pg_largeobject_metadata")
    found = pg_manifest.compare(manifest, pg_manifest.take(conn))
    assert "table public.orders has 3000 rows as expected, but not the same contents" in found
    assert "index public.orders_x is missing" in found
    assert "sequence public.orders_id_seq stands at 5, before the 3000 of the manifest" in found
    assert any(text.startswith("large objects differ") for text in found)
    assert len(found) == 4
    backup.clear(conn)


@pytest.mark.parametrize("moment", ["dumping", "restoring"])
def test_a_killed_run_is_cleared_up_by_the_next(shop: Login, tmp_path: Path, moment: str) -> None:
    with connection(shop) as conn:
        conn.execute("CREATE TABLE big AS SELECT g, md5(g::text) m FROM generate_series(1, 300000) g")
    store = tmp_path / "b"
    module = Module("pg_backup", arguments(shop, store, "r1"))
    if moment == "dumping":
        eventually(lambda: list(store.glob(".partial-r1/dump/*.dat.zst")))
    else:
        eventually(lambda: any("_verify_" in name for name in databases(shop)))
    module.kill()
    assert [p.name for p in store.glob(".*-r1")]
    # A program of the dead run may go on for a while; the next run ends it.
    result = run("pg_backup", arguments(shop, store, "r2"))
    assert result.get("verified"), result
    assert not [name for name in databases(shop) if "_verify_" in name]
    assert not list(store.glob(".*-*"))
    assert not sh("docker", "ps", "--all", "--quiet", "--filter", f"label=slipway.backup={store}").strip()
    if moment == "restoring":
        status = Store(store).status("r1")
        assert status is None or status["verified"] is False
        again = run("pg_backup", arguments(shop, store, "r1"))
        assert again["changed"] and again["verified"]


def test_a_database_of_the_users_is_never_dropped(shop: Login, tmp_path: Path) -> None:
    name = f"{shop.db}_verify_r1"
    with connection(shop) as conn:
        conn.execute(f"CREATE DATABASE {name}")
        failed = run("pg_backup", arguments(shop, tmp_path / "b", "r1"))
        assert failed["failed"] and f'DROP DATABASE "{name}"' in failed["msg"]
        assert name in databases(shop)
        conn.execute(f"DROP DATABASE {name}")


def test_secrets_are_in_no_argument_no_environment_and_no_result(shop: Login, tmp_path: Path) -> None:
    seen: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for name in ("cmdline", "environ"):
                for path in Path("/proc").glob(f"[0-9]*/{name}"):
                    with contextlib.suppress(OSError):
                        text = path.read_bytes()
                        if PASSWORD.encode() in text:
                            seen.append(f"{path}: {text[:200]!r}")
            described = subprocess.run(
                "docker ps -q --filter label=slipway.backup | xargs -r docker inspect",
                shell=True,
                capture_output=True,
                text=True,
                check=False,
            ).stdout
            if "pg_" in described:
                programs.append(1)
            if PASSWORD in described or json.dumps(PASSWORD)[1:-1] in described:
                seen.append("docker inspect")

    programs: list[int] = []
    watcher = threading.Thread(target=look)
    watcher.start()
    module = Module("pg_backup", arguments(shop, tmp_path / "b", "r1"))
    result = module.result()
    stop.set()
    watcher.join()
    assert result["verified"]
    assert programs, "no client program was seen, so nothing was looked at"
    assert not seen
    assert PASSWORD not in module.text and json.dumps(PASSWORD)[1:-1] not in module.text
    for path in (tmp_path / "b").rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_retention_keeps_the_newest_verified_and_prunes_nothing_on_failure(
    shop: Login, tmp_path: Path
) -> None:
    store = tmp_path / "b"
    for ident in ("r1", "r2", "r3"):
        assert run("pg_backup", arguments(shop, store, ident, keep=2))["verified"]
    assert sorted(s["id"] for s in Store(store).all()) == ["r2", "r3"]
    failed = run(
        "pg_backup", arguments(shop, store, "r4", keep=1, files=["/nonexistent/a", "/nonexistent/b"])
    )
    assert failed["failed"] and "/nonexistent/a, /nonexistent/b" in failed["msg"]
    assert sorted(p.name for p in store.iterdir()) == [".lock", "r2", "r3"]


def test_the_documented_way_back_works_and_keeps_what_it_replaces(
    server: Login, shop: Login, tmp_path: Path
) -> None:
    assert run("pg_backup", arguments(shop, tmp_path / "b", "r1"))["verified"]
    path = tmp_path / "b/r1"
    (tmp_path / "pgpass").write_text(shop.pgpass())
    (tmp_path / "pgpass").chmod(0o600)
    with connection(shop) as conn:
        conn.execute("TRUNCATE public.orders")

    def client(*command: str) -> str:
        image = ("--entrypoint", command[0], "slipway/postgres:17")
        box = (
            "docker",
            "run",
            "--rm",
            "--network",
            "host",
            "--user",
            "0:0",
            "--volume",
            f"{tmp_path}:{tmp_path}",
        )
        return sh(*box, "--env", f"PGPASSFILE={tmp_path}/pgpass", *image, *command[1:])

    client("createdb", *shop.flags(), "-T", "template0", "restored")
    client(
        "pg_restore", *shop.flags(), "--exit-on-error", "--jobs", "2", "--dbname", "restored", f"{path}/dump"
    )
    assert "CREATE DATABASE" in client("pg_restore", "--create", "--file", "-", f"{path}/dump")
    old, new = shop._replace(db=f"{shop.db}_before"), shop._replace(db="restored")
    try:
        with connection(new) as conn:
            manifest = json.loads((path / "manifest.json").read_text())
            assert pg_manifest.compare(manifest, pg_manifest.take(conn)) == []
        with connection(server) as conn:
            conn.execute(f"ALTER DATABASE {shop.db} ALLOW_CONNECTIONS false")
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [shop.db]
            )
            with conn.transaction():
                conn.execute(f"ALTER DATABASE {shop.db} RENAME TO {old.db}")
                conn.execute(f"ALTER DATABASE {new.db} RENAME TO {shop.db}")
        with connection(shop) as conn:
            assert conn.execute("SELECT count(*) FROM public.orders").fetchone() == (3000,)
        assert old.db in databases(server)
    finally:
        with connection(server) as conn:
            for name in (old.db, new.db):
                conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_check_mode_looks_and_leaves_nothing(shop: Login, tmp_path: Path) -> None:
    result = run("pg_backup", arguments(shop, tmp_path / "b", "r1"), check=True)
    assert result["changed"] and result["verified"] is False
    assert verdicts(result) == {"backup disk space": "pass"}
    assert not (tmp_path / "b").exists()


def test_a_full_disk_stops_it_before_anything_is_written(
    shop: Login, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(t.NamedTuple):
        free: int = 1_000_000

    monkeypatch.setattr(pg_backup.shutil, "disk_usage", lambda _path: Usage())
    with pytest.raises(BackupError, match=r"has 1 MB free, >= .* are needed") as failed:
        Backup(Options(shop, "r1", tmp_path / "b")).full()
    assert failed.value.gates[0]["verdict"] == "fail"
    assert [p.name for p in (tmp_path / "b").iterdir()] == [".lock"]


def test_two_runs_at_once_say_so(shop: Login, tmp_path: Path) -> None:
    with (
        Store(tmp_path / "b").locked("r1"),
        pytest.raises(StoreError, match=r"pid \d+, backup r1"),
    ):
        Backup(Options(shop, "r2", tmp_path / "b")).full()


def test_a_role_that_is_no_superuser_can_back_up_its_own_database(shop: Login, tmp_path: Path) -> None:
    owner = shop._replace(user="owner", password="besitz-815")
    with connection(shop) as conn:
        conn.execute("CREATE ROLE owner LOGIN CREATEDB PASSWORD 'besitz-815'")
        conn.execute(f"CREATE DATABASE {shop.db}_own OWNER owner")
    own = owner._replace(db=f"{shop.db}_own")
    try:
        with connection(own) as conn:
            conn.execute("CREATE TABLE t AS SELECT g FROM generate_series(1, 10) g")
        result = run("pg_backup", arguments(own, tmp_path / "b", "r1"))
        assert result.get("verified") and result["rows"] == 10, result
    finally:
        with connection(shop) as conn:
            conn.execute(f"DROP DATABASE {own.db} WITH (FORCE)")
            conn.execute("DROP OWNED BY owner CASCADE")
            conn.execute("DROP ROLE owner")


def test_an_unreachable_server_is_named(shop: Login, tmp_path: Path) -> None:
    failed = run("pg_backup", arguments(shop._replace(port=1), tmp_path / "b", "r1", client_image="any"))
    assert failed["failed"] and "127.0.0.1:1/" in failed["msg"] and "refused" in failed["msg"]
    planned = run(
        "pg_backup", arguments(shop._replace(port=1), tmp_path / "b", "r1", client_image="any"), True
    )
    assert planned["changed"] and verdicts(planned) == {"backup possible": "inconclusive"}
