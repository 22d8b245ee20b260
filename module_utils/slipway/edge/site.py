# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Gives nginx a configuration it accepts, or leaves the one it has."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..model.durable import write_atomically

Run = Callable[[list[str]], tuple[int, str, str]]
NGINX = Path("/etc/nginx/nginx.conf")


class SiteError(Exception):
    """nginx refuses its configuration or does not start; `code` is what its command ended with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def serve(
    run: Run, find: Callable[[str], str | None], asked: dict[str, Any], check: bool = False
) -> dict[str, Any]:
    """Have nginx run with the files in `asked`, the options of the module edge_site; return the module's result.

    `find` says where a program lies. With `check` nothing is touched. Raises SiteError, the files being as they were.
    """
    # In a plan for a new host nginx is not there yet.
    version = run(["nginx", "-v"])[2] if find("nginx") else ""
    wanted = {Path(file["path"]): for_nginx(file["content"], version) for file in asked["files"]}
    wanted.update(with_connections(NGINX, asked["worker_connections"]))
    before = {path: path.read_text() if path.exists() else None for path in wanted}
    written = [path for path in wanted if before[path] != wanted[path]]
    started = not check and ensure_running(run)
    if written and not check:
        install(run, {path: wanted[path] for path in written}, before)
    return {
        "changed": bool(written) or started,
        "written": [str(path) for path in written],
        "diff": [
            {
                "before_header": str(path),
                "after_header": str(path),
                "before": before[path] or "",
                "after": wanted[path],
            }
            for path in written
        ],
    }


def for_nginx(content: str, version: str) -> str:
    """Return a site as nginx of a version (such as 1.22.1) understands it.

    Before 1.25.1 HTTP/2 is not a directive but a parameter of `listen`
    (https://nginx.org/en/docs/http/ngx_http_v2_module.html#http2), which later ones warn about.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if not numbers or numbers >= (1, 25, 1) or not re.search(r"^ *http2 on;\n", content, re.MULTILINE):
        return content
    without = re.sub(r"^ *http2 on;\n", "", content, flags=re.MULTILINE)
    return re.sub(r"^( *listen .*\bssl)\b", r"\1 http2", without, flags=re.MULTILINE)


def with_connections(path: Path, connections: int) -> dict[Path, str]:
    """Return nginx's own configuration with room for more connections, and the file descriptors they take."""
    if not path.exists():
        return {}
    text = re.sub(r"worker_connections\s+\d+;", f"worker_connections {connections};", path.read_text())
    if "worker_rlimit_nofile" not in text:
        text = re.sub(
            r"^events\b",
            f"worker_rlimit_nofile {4 * connections};\nevents",
            text,
            count=1,
            flags=re.MULTILINE,
        )
    return {path: text}


def ensure_running(run: Run) -> bool:
    """Have nginx run, now and after the next boot; True where it did not. Raises SiteError."""
    states = [run(["systemctl", what, "--quiet", "nginx"])[0] for what in ("is-active", "is-enabled")]
    if not any(states):
        return False
    code, _output, error = run(["systemctl", "enable", "--now", "nginx"])
    if code:
        raise SiteError(f"nginx does not start: {error.strip()}\nLook at it: journalctl -u nginx -n 20", code)
    return True


def install(run: Run, files: dict[Path, str], before: dict[Path, str | None]) -> None:
    """Write files and have nginx take them; put them back as they were `before` where it refuses. Raises SiteError."""
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content, 0o644)
    code, output, error = run(["nginx", "-t", "-q"])
    if code:
        for path in files:
            earlier = before[path]
            if earlier is None:
                path.unlink()
            else:
                write_atomically(path, earlier, 0o644)
        raise SiteError(
            f"nginx refuses the configuration, so it was left as it was:\n{(output + error).strip()}", code
        )
    code, _output, error = run(["systemctl", "reload", "nginx"])
    if code:
        raise SiteError(
            f"nginx did not take its new configuration: {error.strip()}\nLook at it: journalctl -u nginx -n 20",
            code,
        )
