"""Write the report of a release: a directory with report.json, report.md, report.html and junit.xml."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from .html import html
from .text import junit, markdown

LATEST = "latest"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class ReportError(Exception):
    """The report cannot be written; the message says why and what to do."""


def directory_of(report: dict[str, Any], root: Path) -> Path:
    """Where the report of this release belongs below `root`. Raises ReportError where system or id are
    missing or would leave `root`."""
    parts = []
    for key in ("system", "id"):
        name = report["release"][key]
        if not name:
            raise ReportError(f"no report was written: the run ended before the release had its {key}")
        if not _NAME.fullmatch(str(name)) or name == LATEST:
            raise ReportError(
                f"no report was written: {name!r} is no name for a directory (the release's {key}); "
                "letters, digits, dot, dash and underscore are allowed"
            )
        parts.append(str(name))
    return root.joinpath(*parts)


def write(report: dict[str, Any], root: Path, own: bool = False) -> Path:
    """Write the report and point `<system>/latest` at it; the directory it lies in.

    Directories are 0700 and files 0600. Each file is replaced in one step, report.json first. A report that
    an earlier run left for the same release is kept as `<id>.1`, `<id>.2`, ...; `own` says that this run
    wrote it.
    Raises ReportError.
    """
    target = directory_of(report, root)
    renderers = {"report.md": markdown, "report.html": html, "junit.xml": junit}
    name = "report.json"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        if not own and (target / name).exists():
            target.rename(_free(target))
        target.mkdir(mode=0o700, exist_ok=True)
        _replace(target / name, json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        _point(target.parent / LATEST, target.name)
        for name, render in renderers.items():
            _replace(target / name, render(report))
    except OSError as error:
        raise ReportError(
            f"the report could not be written to {target}: {error.strerror or error} "
            "(set `report_dir` in the section [callback_slipway] of ansible.cfg, or SLIPWAY_REPORT_DIR)"
        ) from error
    except Exception as error:
        # A page that cannot be drawn must not cost the run its summary: the data is safe in report.json.
        raise ReportError(f"{name} of {target} could not be made: {error!r}") from error
    return target


def _free(target: Path) -> Path:
    number = 1
    while (kept := target.with_name(f"{target.name}.{number}")).exists():
        number += 1
    return kept


def _replace(path: Path, text: str) -> None:
    """Readers see the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _point(link: Path, name: str) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(name)
    temporary.replace(link)
