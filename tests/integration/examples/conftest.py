"""The reviews application, built from its history and started by its own Compose file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from examples_system import ENVIRONMENT, EXAMPLES, Reviews, run


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviews]:
    """Release v1, migrated, seeded and running."""
    directory = tmp_path_factory.mktemp("reviews")
    run(str(EXAMPLES / "reviews/history"), str(directory / "history"))
    system = Reviews(directory)
    system.image("v1")
    (directory / "v1/.env").write_text("".join(f"{name}={value}\n" for name, value in ENVIRONMENT.items()))
    try:
        system.compose("up", "-d", "--wait", "db", "redis")
        system.compose("run", "--rm", "migrate")
        system.compose("run", "--rm", "seed")
        system.compose("up", "-d", "--wait", "web", "worker")
        yield system
    finally:
        system.remove()
