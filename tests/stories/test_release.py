"""The life of a system: shipped, shipped again, taken back; and releases that are broken."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest
from conftest import ALL_VARIANTS, ROOT, System, on, ship, traffic


def test_the_plan_of_the_first_release_touches_nothing(reviews: System) -> None:
    assert reviews.run("playbooks/fleet.yml").code == 0
    plan = reviews.deploy("v1", "--check", "--diff")
    assert plan.code == 0, plan.output[-4000:]
    assert "edge: Turn the edge to blue" in plan.output and "that are declared are missing" in plan.output
    assert re.search(r"migrations pending +[1-9]", plan.output)
    for host in ("edge1", "app1", "app2", "data1"):
        assert on(host, "ls -d /var/lib/slipway /etc/nginx/slipway 2>/dev/null || true") == ""
    assert on("app1", "docker ps --all --quiet; docker image ls --quiet; docker volume ls --quiet") == ""


def test_first_release_on_empty_hosts_and_then_nothing_to_do(reviews: System) -> None:
    first = reviews.deploy("v1")
    assert first.code == 0, first.output[-4000:]
    assert first.verdict == "live"
    assert reviews.version() == "1.0.0"
    seeded = reviews.run("playbooks/job.yml", job="seed")
    assert seeded.code == 0, seeded.output[-3000:]
    assert int(reviews.sql("select count(*) from marketing.qr_scans")) >= 100_000

    before = {host: reviews.containers(host) for host in ("app1", "app2", "data1")}
    again = reviews.deploy("v1")
    assert again.code == 0, again.output[-4000:]
    assert again.changed == 0, again.output[-4000:]
    assert {host: reviews.containers(host) for host in before} == before
    (record,) = reviews.records()
    image, digest = record["images"]["web"], record["image_ids"]["web"]
    assert digest.startswith("sha256:") and image.endswith(f"-{digest[7:19]}")
    assert reviews.records("app1")[0]["images"] == record["images"]


def test_a_backup_is_made_when_it_is_asked_for(reviews: System) -> None:
    ship(reviews, "v1")
    listed = "ls /var/lib/slipway/reviews/backups 2>/dev/null || true"
    before, running = on("data1", listed).split(), reviews.containers("app1")
    done = reviews.run("playbooks/backup.yml")
    assert done.code == 0, done.output[-4000:]
    (made,) = set(on("data1", listed).split()) - set(before)
    assert '"verified": true' in on("data1", f"cat /var/lib/slipway/reviews/backups/{made}/status.json")
    assert reviews.containers("app1") == running and reviews.version() == "1.0.0"
    assert all(record.get("verdict") for record in reviews.records()), "no release was begun for it"


def test_a_container_that_was_restarted_once_is_no_reason_to_take_down_what_serves(reviews: System) -> None:
    ship(reviews, "v1")
    name = next(name for name in reviews.containers("app1") if "-web-1" in name)
    on("app1", f"kill -9 $(docker inspect -f '{{{{.State.Pid}}}}' {name})")
    deadline = time.monotonic() + 30
    while on("app1", f"docker inspect -f '{{{{.State.Health.Status}}}}' {name}").strip() != "healthy":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    before = reviews.containers("app1")
    done = reviews.deploy("v1")
    assert done.code == 0, done.output[-4000:]
    assert done.changed == 0
    assert "is live already, nothing to ship" in done.output
    assert reviews.containers("app1") == before


def test_a_look_at_what_serves_that_fails_takes_nothing_down(reviews: System) -> None:
    ship(reviews, "v1")
    before = {host: reviews.containers(host) for host in ("app1", "app2")}
    live = next(
        one for one in reversed(reviews.records()) if one["verdict"] == "live" and not one.get("live_until")
    )
    described = f"/var/lib/slipway/reviews/releases/{live['content']}/colour.json"
    on("app2", f"cp {described} {described}.kept; echo '{{' > {described}")
    try:
        done = reviews.deploy("v1")
    finally:
        on("app2", f"mv {described}.kept {described}")
    assert done.code != 0
    assert "nothing was taken back" in done.output, done.output[-3000:]
    assert "live, NO-GO" in done.output, done.output[-3000:]
    assert {host: reviews.containers(host) for host in before} == before
    assert reviews.version() == "1.0.0"
    assert reviews.deploy("v1").code == 0


def test_an_app_host_that_was_rebuilt_gets_a_release_though_nothing_has_changed(reviews: System) -> None:
    ship(reviews, "v1")
    live = next(
        one for one in reversed(reviews.records()) if one["verdict"] == "live" and not one.get("live_until")
    )
    on("app2", "docker ps -aq | xargs -r docker rm -f; rm -rf /var/lib/slipway/reviews")
    done = reviews.deploy("v1")
    assert done.code == 0, done.output[-4000:]
    assert reviews.records("app2")[-1]["why"] == [f"nothing of {live['id']} is left on app2"]
    assert live["id"] in [one["id"] for one in reviews.records("app2")]
    assert reviews.containers("app2") and reviews.version() == "1.0.0"


def test_the_next_release_and_the_way_back_fail_no_request(reviews: System) -> None:
    ship(reviews, "v1")
    with traffic(reviews) as seen:
        done = reviews.deploy("v2")
        assert done.code == 0, done.output[-4000:]
        assert reviews.version() == "2.0.0"
    seen.assert_none_failed()
    assert seen.releases == {"1.0.0", "2.0.0"}

    with traffic(reviews) as seen:
        back = reviews.rollback()
        assert back.code == 0, back.output[-4000:]
        assert reviews.version() == "1.0.0"
    seen.assert_none_failed()
    assert seen.releases == {"1.0.0", "2.0.0"}
    for host in ("app1", "app2"):
        assert all("-web-" in name or "-worker-" in name for name in reviews.containers(host))
    # Two generations of the worker never overlapped: the application keeps account of them itself.
    assert reviews.sql("select count(*) from ops.worker_overlaps") == "0"


@pytest.mark.skipif(not ALL_VARIANTS, reason="make test-all")
def test_a_release_can_be_named(reviews: System) -> None:
    ship(reviews, "v1")
    assert (done := reviews.deploy("v2")).code == 0, done.output[-4000:]
    second = reviews.records()[-1]["id"]
    assert reviews.rollback().code == 0
    unknown = reviews.rollback(release="20200101T000000Z-0000000")
    assert unknown.code != 0 and "was never live here. Those that were: " in unknown.output
    assert second in unknown.output and reviews.version() == "1.0.0"
    # One that was taken back is gone to where it is asked for by name.
    done = reviews.rollback(release=second)
    assert done.code == 0 and done.verdict == "live", done.output[-4000:]
    assert reviews.version() == "2.0.0"
    assert reviews.records()[-1]["content"] == second


def test_a_release_that_never_gets_healthy_has_no_traffic(reviews: System) -> None:
    ship(reviews, "v1")
    with traffic(reviews) as seen:
        done = reviews.deploy("broken-unhealthy", colour_timeout=45)
        assert done.code != 0
        assert done.verdict == "abandoned", done.output[-4000:]
    seen.assert_none_failed()
    assert seen.releases == {"1.0.0"}
    last = reviews.records()[-1]
    assert last["verdict"] == "abandoned"
    # Hosts that only had to stop with the others are not called lost.
    assert "lost" not in last["reason"]
    for host in ("app1", "app2"):
        # The old colour alone is left.
        colours = {name.split("-")[1] for name in reviews.containers(host, running=False)}
        assert len(colours) == 1, colours


def test_a_release_that_answers_500_on_a_business_route_is_stopped_before_the_switch(reviews: System) -> None:
    ship(reviews, "v1")
    done = reviews.deploy("broken-route", verify_deadline="8s")
    assert done.code != 0
    assert done.verdict == "abandoned", done.output[-4000:]
    assert "analytics @ app1" in done.output, done.output[-4000:]
    assert reviews.version() == "1.0.0"


def test_a_migration_that_fails_half_way_leaves_the_schema(reviews: System) -> None:
    ship(reviews, "v1")
    schema = "docker exec reviews-db-1 pg_dump -U reviews -s reviews | grep -v '^.restrict\\|^.unrestrict' | md5sum"
    counts = "select count(*), sum(hashtext(r::text)) from feedback.customer_reviews r"
    before = on("data1", schema), reviews.sql(counts)
    done = reviews.deploy("broken-migration")
    assert done.code != 0
    assert done.verdict == "abandoned", done.output[-4000:]
    assert reviews.version() == "1.0.0"
    assert (on("data1", schema), reviews.sql(counts)) == before


def test_a_rollback_is_judged_by_the_checks_of_the_release_it_goes_to(
    reviews: System, tmp_path: Path
) -> None:
    """The newer release came with a check that pins its version, which the older one can't pass."""
    ship(reviews, "v1")
    shutil.copytree(ROOT / "inventories/prod", tmp_path / "prod")
    checks = tmp_path / "prod/group_vars/all/checks.yml"
    pinned = "verify_checks:\n  - name: pinned\n    http: /version\n    expect: {json: {version: 2.0.0}}\n"
    checks.write_text(checks.read_text().replace("verify_checks:\n", pinned, 1))
    newer = System(inventory=str(tmp_path / "prod"))
    assert (done := newer.deploy("v2")).code == 0, done.output[-4000:]
    back = newer.rollback()
    assert back.code == 0, back.output[-4000:]
    assert reviews.version() == "1.0.0"
    closed = on("edge1", "stat -c %a /var/lib/slipway/reviews/releases/*/checks.json").split()
    assert closed and set(closed) == {"600"}
    # On demand more is asked than in a release, and what is declared judges.
    asked = reviews.run("playbooks/verify.yml", verify_load=[])
    assert asked.code == 0 and "the scan is counted" in asked.output, asked.output[-3000:]
    asked = newer.run("playbooks/verify.yml")
    assert asked.code != 0 and "pinned" in asked.output.split("verdict")[0], asked.output[-3000:]
