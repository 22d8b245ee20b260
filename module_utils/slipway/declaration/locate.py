# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Where a variable of the inventory stands: file and line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..compose.yaml import Document, parse
from ..compose.yaml import Path as Keys
from ..model.problems import Problem

COMMAND_LINE = "command line (-e)"


@dataclass
class Locator:
    """Finds the file and line at which a variable of the inventory stands; later files win over earlier
    ones.
    """

    documents: list[Document] = field(default_factory=list)
    extra: frozenset[str] = frozenset()

    def find(self, path: Keys) -> tuple[str, int]:
        """Return file and line of a key, else of the nearest one around it, else the file it would belong
        to.
        """
        if path and path[0] in self.extra:
            return COMMAND_LINE, 0
        if path and path[0] in ("hosts", "groups"):
            return self._in_hosts(path)
        for length in range(len(path), 0, -1):
            for document in reversed(self.documents):
                for prefix in ((), ("all", "vars")):
                    if (*prefix, *path[:length]) in document.lines:
                        return document.file, document.lines[(*prefix, *path[:length])]
        concern = "environment" if str(path[0] if path else "").startswith("environment") else "app"
        known = [document.file for document in self.documents if Path(document.file).stem == concern]
        return (known[-1] if known else f"group_vars/all/{concern}.yml"), 0

    def declares(self, name: str) -> bool:
        """Tell whether a variable stands in a file of the inventory or on the command line."""
        places = ((name,), ("all", "vars", name))
        return name in self.extra or any(p in document.lines for document in self.documents for p in places)

    def _in_hosts(self, path: Keys) -> tuple[str, int]:
        """Return where a host stands in the inventory, else the file that lists the hosts."""
        known = [document for document in self.documents if "_vars" not in document.file]
        for document in known:
            for keys, line in document.lines.items():
                if keys[-2:] == path:
                    return document.file, line
        return (known[0].file if known else "hosts.yml"), 0


def inventory_files(sources: Sequence[Path]) -> list[Path]:
    """Return the YAML files that hold variables, by rising precedence: sources, all, other groups, hosts."""
    found: list[Path] = []
    for source in sources:
        directory = source if source.is_dir() else source.parent
        found += [source] if source.is_file() else sorted(directory.glob("*.y*ml"))
        for kind in ("group_vars", "host_vars"):
            files = {*(directory / kind).glob("**/*.yml"), *(directory / kind).glob("**/*.yaml")}
            at_all = {
                file for file in files if file.relative_to(directory / kind).parts[0].split(".")[0] == "all"
            }
            found += [*sorted(at_all), *sorted(files - at_all)]
    return [file for file in dict.fromkeys(found) if file.suffix in (".yml", ".yaml")]


def read_files(
    files: Sequence[Path], read: Callable[[Path], str], base: Path
) -> tuple[list[Document], list[Problem]]:
    """Read files of variables with `read` (which decrypts vaults); return them, and keys that stand twice.

    File names are shown relative to `base` where they lie below it.
    """
    documents, problems = [], []
    for file in files:
        name = str(file.relative_to(base)) if file.is_relative_to(base) else str(file)
        try:
            document = parse(read(file), name)
        except (OSError, UnicodeDecodeError):
            continue  # Ansible has read the inventory before us and says itself what it cannot read
        documents.append(document)
        for path, line in document.duplicates:
            key = ".".join(str(part) for part in path)
            problems.append(
                Problem(name, line, key, "is there twice: only the last one counts", "remove one")
            )
    return documents, problems
