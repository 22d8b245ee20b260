"""A real PostgreSQL 17 in a container, and a database for each test."""

from __future__ import annotations

import itertools
import os
import typing as t

import psycopg
import pytest
from ansible.module_utils.slipway.postgres.login import Login
from data_support import PASSWORD, ROOT, connection, eventually, free_port, sh


@pytest.fixture(scope="session")
def server() -> t.Iterator[Login]:
    """A server whose superuser's password is known to nobody else on this machine."""
    name, port = f"data-test-pg-{os.getpid()}", free_port()
    sh(str(ROOT / "images/build"), "debian:13", "postgres:17")
    sh("docker", "run", "--detach", "--rm", "--name", name, "--env", "POSTGRES_PASSWORD=first", "--publish",
       f"127.0.0.1:{port}:5432", "slipway/postgres:17", "postgres", "-c", "fsync=off")  # fmt: skip
    try:
        login = Login("127.0.0.1", port, "keeper", PASSWORD, "postgres")

        def create_role() -> bool:
            try:
                first = psycopg.connect(
                    host=login.host, port=port, user="postgres", password="first", autocommit=True
                )
            except psycopg.OperationalError:
                return False
            with first:
                first.execute(f"CREATE ROLE keeper SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
            return True

        eventually(create_role, seconds=60, every=0.2)
        yield login
    finally:
        sh("docker", "rm", "--force", "--volumes", name, check=False)


numbers = itertools.count(1)


@pytest.fixture
def db(server: Login) -> t.Iterator[Login]:
    """An empty database of one test."""
    login = server._replace(db=f"shop{next(numbers)}")
    with connection(server) as admin:
        admin.execute(f"CREATE DATABASE {login.db}")
        yield login
        admin.execute(f"DROP DATABASE IF EXISTS {login.db} WITH (FORCE)")
