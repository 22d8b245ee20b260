"""The parts of the reviews application that need no server, and its history."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from uuid import UUID

import pytest

REVIEWS = Path(__file__).resolve().parents[3] / "examples/reviews"
ENVIRONMENT = {
    "DATABASE_URL": "postgresql://reviews:secret-of-the-database@db/reviews",
    "REDIS_URL": "redis://:secret-of-the-cache@redis:6379/0",
    "SECRET_KEY": "k" * 32,
    "ADMIN_API_KEY": "a" * 16,
    "CUSTOMER_APP_URL": "https://reviews.example.com/",
    "YELP_REVIEW_URL": "https://www.yelp.com/biz/example",
    "GOOGLE_REVIEW_URL": "https://g.page/r/example/review",
    "REVIEW_COUPON_DISCOUNT": "10",
    "REVIEW_COUPON_VALIDITY_DAYS": "90",
    "REVIEW_COUPON_MIN_ORDER": "50.00",
}


def load(path: str) -> ModuleType:
    name = "example_reviews_" + Path(path).stem
    spec = importlib.util.spec_from_file_location(name, REVIEWS / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


settings = load("v1/app/settings.py")
links = load("v1/app/links.py")
sentiment = load("v2/app/sentiment.py").sentiment


def test_settings_are_read() -> None:
    read = settings.read(ENVIRONMENT)
    assert read.database_url == "postgresql+psycopg://reviews:secret-of-the-database@db/reviews"
    assert (read.customer_app_url, read.coupon_discount) == ("https://reviews.example.com", 10)
    assert (read.analytics_cache_seconds, read.qr_tracking_enabled) == (300, True)


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_each_required_variable_is_required(name: str) -> None:
    for value in ({}, {name: ""}, {name: "  "}):
        environment = {key: text for key, text in ENVIRONMENT.items() if key != name} | value
        with pytest.raises(settings.ConfigurationError) as caught:
            settings.read(environment)
        assert caught.value.mistakes == [f"{name} is not set"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://reviews:secret-of-the-database@db/reviews"),
        ("REDIS_URL", "secret-of-the-cache"),
        ("SECRET_KEY", "secret-of-31-characters--------"),
        ("REVIEW_COUPON_DISCOUNT", "101"),
        ("REVIEW_COUPON_DISCOUNT", "-1"),
        ("REVIEW_COUPON_MIN_ORDER", "NaN"),
        ("REVIEW_COUPON_MIN_ORDER", "fifty"),
        ("QR_TRACKING_ENABLED", "yes"),
        ("WEB_CONCURRENCY", "0"),
    ],
)
def test_wrong_values_are_named_and_secrets_are_not_shown(name: str, value: str) -> None:
    with pytest.raises(settings.ConfigurationError) as caught:
        settings.read(ENVIRONMENT | {name: value})
    (mistake,) = caught.value.mistakes
    assert mistake.startswith(f"{name} ")
    assert "secret-of" not in mistake


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(settings.ConfigurationError) as caught:
        settings.read({})
    assert len(caught.value.mistakes) == len(ENVIRONMENT)


def test_the_example_environment_names_every_required_variable() -> None:
    lines = (REVIEWS / "v1/.env.example").read_text().splitlines()
    named = {line.partition("=")[0] for line in lines if "=" in line and not line.startswith("#")}
    assert set(ENVIRONMENT) <= named


def test_a_review_key_opens_its_own_review_only() -> None:
    one, other = UUID(int=1), UUID(int=2)
    key = links.review_key("secret", one)
    assert links.key_fits("secret", one, key)
    assert not links.key_fits("secret", other, key)
    assert not links.key_fits("another secret", one, key)
    assert not links.key_fits("secret", one, "")
    assert links.review_url("https://x", "secret", one) == f"https://x/review/{one}?key={key}"


@pytest.mark.parametrize(
    ("rating", "comment", "expected"),
    [
        ("good", "", "positive"),
        ("okay", None, "neutral"),
        (None, None, "neutral"),
        ("could_be_better", "", "negative"),
        ("great", "Cold, and we waited.", "negative"),
        ("could_be_better", "The best, wonderful", "positive"),
    ],
)
def test_words_count_more_than_the_rating(rating: str, comment: str, expected: str) -> None:
    assert sentiment(rating, comment) == expected


def history(target: Path, **environment: str) -> str:
    command = [str(REVIEWS / "history"), str(target)]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | environment
    ).stdout


def git(target: Path, *command: str) -> str:
    done = subprocess.run(["git", "-C", str(target), *command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_history_is_the_same_whoever_makes_it(tmp_path: Path) -> None:
    hostile = tmp_path / "gitconfig"
    hostile.write_text(
        "[user]\nname = Somebody\n[commit]\ngpgsign = true\n[core]\nautocrlf = true\nfileMode = true\n"
        "[init]\ndefaultBranch = trunk\ndefaultObjectFormat = sha256\n"
    )
    first = history(tmp_path / "one")
    assert len(first.splitlines()) == 7
    theirs = {"GIT_CONFIG_GLOBAL": str(hostile), "GIT_AUTHOR_NAME": "Else", "TZ": "Asia/Tokyo"}
    assert history(tmp_path / "two", **theirs) == first
    assert git(tmp_path / "two", "status", "--short") == ""


def test_history_again_changes_nothing_and_keeps_what_is_yours(tmp_path: Path) -> None:
    first = history(tmp_path)
    (tmp_path / "mine").write_text("mine")
    git(tmp_path, "add", "mine")
    git(tmp_path, "-c", "user.name=me", "-c", "user.email=me@example.com", "commit", "-qm", "Mine")
    mine = git(tmp_path, "rev-parse", "HEAD")
    assert history(tmp_path) == first
    assert git(tmp_path, "rev-parse", "HEAD") == mine
    assert (tmp_path / "mine").read_text() == "mine"


def test_history_spares_a_directory_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    command = [str(REVIEWS / "history"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "neither empty nor a git repository" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_each_release_changes_only_what_differs(tmp_path: Path) -> None:
    history(tmp_path)
    for tag in git(tmp_path, "tag").splitlines():
        if tag == "v1":
            continue
        files = (path for path in (REVIEWS / tag).rglob("*") if path.is_file())
        overlay = {str(path.relative_to(REVIEWS / tag)) for path in files if path.suffix != ".pyc"}
        assert set(git(tmp_path, "diff", "--name-only", f"{tag}~", tag).splitlines()) == overlay, tag
        parent = "v1" if tag == "v2" else "v2"
        assert git(tmp_path, "rev-parse", f"{tag}~") == git(tmp_path, "rev-parse", parent)


def test_each_release_has_a_version_of_its_own(tmp_path: Path) -> None:
    history(tmp_path)
    tags = git(tmp_path, "tag").splitlines()
    versions = set()
    for tag in tags:
        source = git(tmp_path, "show", f"{tag}:app/version.py")
        versions.add(next(line for line in source.splitlines() if line.startswith("VERSION =")))
    assert len(versions) == len(tags)
