# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""YAML as Compose reads it (YAML 1.2 scalars, !reset, !override); keys have lines; and back to text.

PyYAML alone follows YAML 1.1: it would take `on` for true and `22:22` for 1342, where Compose does not. Runs
on the controller: it needs PyYAML, which ansible-core brings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[Any, ...]

# Texts that every YAML reader takes for texts, so that they may stand without quotes.
_PLAIN = re.compile(r"[A-Za-z/._][A-Za-z0-9/._-]*")
_NOT_PLAIN = re.compile(r"(?i)y|n|yes|no|on|off|true|false|null|[-+.]?(inf|nan)|[._]+")


@dataclass
class Override:
    """A value that replaces what an earlier Compose file says instead of being merged with it."""

    value: Any


@dataclass
class Reset:
    """The removal of what an earlier Compose file says."""


RESET = Reset()


@dataclass
class Document:
    """A YAML file: its data, the line of every key and list item by path, and what cannot be read."""

    file: str
    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    duplicates: list[tuple[Path, int]] = field(default_factory=list)
    error: str = ""
    error_line: int = 0

    def line(self, path: Path) -> int:
        """Return the line of a key, else that of the nearest enclosing one, else 0."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2 and every unknown tag read as what it marks."""


_Loader.yaml_implicit_resolvers = {}


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    return int(text, 16) if text.lower().startswith("0x") else int(text)


def _construct_plain(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return node.value


def _construct_tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if suffix == "reset":
        return RESET
    value = _construct_plain(loader, node)
    return Override(value) if suffix == "override" else value


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_multi_constructor("!", _construct_tagged)


def parse(text: str, file: str) -> Document:
    """Read one YAML document; what cannot be read is in `error` and `error_line` of the result.

    `file` is the name that problems are to show. Keys that stand twice are in `duplicates`; the last one
    counts.
    """
    document = Document(file)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is not None:
            _index(node, (), document, set())
            document.data = loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = [getattr(error, "context", None), getattr(error, "problem", None)]
        document.error = ", ".join(part for part in said if part) or str(error)
        document.error_line = mark.line + 1 if mark else 0
    finally:
        loader.dispose()
    return document


def _index(node: yaml.Node, path: Path, document: Document, within: set[int]) -> None:
    """Note the line of every key below `node`; keys that come by `<<` have the line where they are
    written.
    """
    if id(node) in within:  # an alias to its own parent
        return
    within = within | {id(node)}
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            document.lines[(*path, number)] = item.start_mark.line + 1
            _index(item, (*path, number), document, within)
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(merged, yaml.MappingNode):
                    _index(merged, path, document, within)
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
            continue
        name = key.value if key.tag != "tag:yaml.org,2002:int" else int(key.value, 0)
        line = key.start_mark.line + 1
        if name in seen:
            document.duplicates.append(((*path, name), line))
        seen.add(name)
        document.lines[(*path, name)] = line
        _index(value, (*path, name), document, within)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that knows !override and !reset, quotes what another YAML reader could misread, and uses
    no aliases.
    """

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    plain = _PLAIN.fullmatch(text) and not _NOT_PLAIN.fullmatch(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


def _represent_override(dumper: yaml.SafeDumper, override: Override) -> yaml.Node:
    node = dumper.represent_data(override.value)
    if isinstance(node, yaml.CollectionNode) and not node.value:
        node.flow_style = True
    node.tag = "!override"
    return node


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(Override, _represent_override)
_Dumper.add_representer(Reset, lambda dumper, _: dumper.represent_scalar("!reset", "null"))


def dump(data: Any) -> str:
    """Return `data` as YAML text that Compose reads back as the same data; keys keep their order."""
    return yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=False
    )
