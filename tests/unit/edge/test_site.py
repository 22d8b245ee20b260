"""What nginx is given, and that it keeps what it has where it refuses the new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.slipway.edge import site

SITE = """server {
    listen 443 ssl;
    listen [::]:443 ssl;
    http2 on;
    server_name a;
}
"""


@pytest.mark.parametrize(
    "version", ["nginx version: nginx/1.25.1", "nginx version: nginx/1.29.0 (Ubuntu)", ""]
)
def test_a_site_for_a_recent_nginx_stays_as_it_is(version: str) -> None:
    assert site.for_nginx(SITE, version) == SITE


@pytest.mark.parametrize("version", ["nginx version: nginx/1.22.1", "nginx/1.18.0 (Ubuntu)", "1.25.0"])
def test_an_older_nginx_has_http2_as_a_parameter(version: str) -> None:
    told = site.for_nginx(SITE, version)
    assert "http2 on" not in told
    assert told.count("listen 443 ssl http2;") == 1 and told.count("listen [::]:443 ssl http2;") == 1
    plain = "listen 80;\n"
    assert site.for_nginx(plain, version) == plain


@pytest.fixture(autouse=True)
def _nginx_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """These run as root on machines that have an nginx: its settings are not theirs to write."""
    monkeypatch.setattr(site, "NGINX", tmp_path_factory.mktemp("nginx") / "nginx.conf")


class Host:
    """Answers every command with 0, those that begin with `failing` with 1."""

    def __init__(self, failing: str = "nothing") -> None:
        self.failing = failing
        self.ran: list[str] = []

    def run(self, command: list[str]) -> tuple[int, str, str]:
        line = " ".join(command)
        self.ran.append(line)
        code = int(line.startswith(self.failing))
        return code, "", "nginx: [emerg] it is wrong" if code else "nginx version: nginx/1.26.3"


def serve(host: Host, path: Path, content: str, check: bool = False) -> dict[str, Any]:
    asked = {"files": [{"path": str(path), "content": content}], "worker_connections": 8192}
    return site.serve(host.run, lambda name: f"/usr/sbin/{name}", asked, check)


def test_nginx_is_reloaded_where_its_files_changed_and_only_there(tmp_path: Path) -> None:
    path, host = tmp_path / "conf.d" / "shop.conf", Host()
    first = serve(host, path, "server {}\n")
    assert (first["changed"], first["written"]) == (True, [str(path)])
    assert first["diff"][0]["before"] == "" and first["diff"][0]["after"] == "server {}\n"
    assert host.ran[-2:] == ["nginx -t -q", "systemctl reload nginx"]
    again = Host()
    assert serve(again, path, "server {}\n")["changed"] is False
    assert "systemctl reload nginx" not in again.ran


def test_nginx_itself_gets_room_for_the_connections(tmp_path: Path) -> None:
    site.NGINX.write_text("worker_processes auto;\nevents {\n    worker_connections 768;\n}\n")
    first = serve(Host(), tmp_path / "shop.conf", "server {}\n")
    assert first["written"] == [str(tmp_path / "shop.conf"), str(site.NGINX)]
    assert site.NGINX.read_text() == (
        "worker_processes auto;\nworker_rlimit_nofile 32768;\nevents {\n    worker_connections 8192;\n}\n"
    )
    assert serve(Host(), tmp_path / "shop.conf", "server {}\n")["changed"] is False


def test_what_nginx_refuses_is_put_back(tmp_path: Path) -> None:
    old, host = tmp_path / "old.conf", Host(failing="nginx -t")
    old.write_text("good\n")
    for path, before in ((old, "good\n"), (tmp_path / "new.conf", None)):
        with pytest.raises(site.SiteError, match=r"left as it was:\nnginx: .emerg. it is wrong") as refused:
            serve(host, path, "bad\n")
        assert refused.value.code == 1
        assert (path.read_text() if path.exists() else None) == before
    assert "systemctl reload nginx" not in host.ran


def test_a_plan_writes_nothing_and_starts_nothing(tmp_path: Path) -> None:
    host = Host(failing="systemctl")
    planned = serve(host, tmp_path / "shop.conf", "server {}\n", check=True)
    assert planned["changed"] is True and not list(tmp_path.iterdir())
    assert host.ran == ["nginx -v"]


def test_nginx_that_does_not_start_is_a_failure_that_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(site.SiteError, match="journalctl -u nginx"):
        serve(Host(failing="systemctl"), tmp_path / "shop.conf", "server {}\n")
