"""What the pages say exists: variables, files, make targets, playbooks, modules, links.

tests/unit/verify/test_docs.py compiles the checks, journeys and loads that the pages show.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.slipway.declaration import role_variables, schema

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("roles/*/README.md")),
    ROOT / "examples/README.md",
]
# All but what .gitignore names.
FILES = [
    str(path.relative_to(ROOT))
    for top in ROOT.iterdir()
    if top.name not in (".git", ".venv", ".ansible", "var") and not top.name.endswith("_cache")
    for path in (top.rglob("*") if top.is_dir() else [top])
    if path.is_file() and path.suffix != ".pyc"
]
CODE = "\n".join(
    (ROOT / name).read_text()
    for name in FILES
    if name.startswith(("module_utils/", "library/", "plugins/", "roles/", "playbooks/", "scripts/"))
    and not name.endswith(".md")
)

# Options of roles, and those among them that the playbooks hand over: what an inventory says of these is overruled.
OPTIONS = role_variables.read_options(ROOT / "roles")
ROLES = tuple(f"{path.name}_" for path in sorted((ROOT / "roles").iterdir()))
# Names that begin like a variable of a role and are none.
OTHERS = {"host_key", "index_key", *(path.stem for path in ROOT.glob("library/*.py"))}
# What a table of messages quotes of others.
NOT_OURS = {"Hostname mismatch"}
# What first-application.md has its reader write, and what only exists on hosts or once something has run.
NOT_HERE = ("inventories/mine", "var/")


def vars_of(data: Any) -> Iterator[str]:
    """Yield the variables that plays, blocks and tasks set for the roles they call."""
    if isinstance(data, dict):
        yield from data.get("vars") or ()
        data = list(data.values())
    if isinstance(data, list):
        for item in data:
            yield from vars_of(item)


def facts_of(data: Any) -> Iterator[str]:
    """Yield the variables that tasks set and register."""
    if isinstance(data, dict):
        yield from data.get("ansible.builtin.set_fact") or ()
        yield str(data.get("register"))
        data = list(data.values())
    if isinstance(data, list):
        for item in data:
            yield from facts_of(item)


HANDED = {name for path in ROOT.glob("playbooks/*.yml") for name in vars_of(yaml.safe_load(path.read_text()))}
FACTS = {
    name for path in ROOT.glob("roles/*/tasks/*.yml") for name in facts_of(yaml.safe_load(path.read_text()))
}
# What the code says, its messages joined where they go on in another line.
SAID = re.sub(r"""["']\s*\n\s*f?["']""", "", CODE)
TABLE = re.compile(r"^\|(.+)\|\n\|[-| ]+\|\n((?:\|.*\n)+)", re.MULTILINE)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def is_settable(name: str) -> bool:
    """Tell whether an inventory can set a variable to any effect."""
    return name in schema.VARIABLES or name == "fleet" or (name in OPTIONS and name not in HANDED)


@dataclass
class Page:
    """A page as those who copy from it see it: blocks of code by their language, words in backticks, links."""

    text: str
    path: Path

    @property
    def blocks(self) -> list[tuple[str, str]]:
        return re.findall(r"^ *```(\w*)\n(.*?)^ *```", self.text, re.DOTALL | re.MULTILINE)

    @property
    def prose(self) -> str:
        return re.sub(r"^ *```\w*\n.*?^ *```", "", self.text, flags=re.DOTALL | re.MULTILINE)

    @property
    def words(self) -> list[str]:
        return [word.replace("\n", " ") for word in re.findall(r"`([^`]+)`", self.prose)]

    @property
    def commands(self) -> list[str]:
        """Lines of code blocks without a language, with lines that go on joined, and whatever stands in backticks."""
        plain = "\n".join(text for language, text in self.blocks if language in ("", "bash"))
        return [*re.sub(r"\\\n\s*", "", plain).split("\n"), *self.words]

    @property
    def is_about_a_role(self) -> bool:
        return self.path.is_relative_to(ROOT / "roles")


def declarations(page: Page) -> Iterator[str]:
    """YAML that an inventory may hold: its variables exist and can be set, and the values are such as they take."""
    for language, text in page.blocks:
        if language != "yaml":
            continue
        data = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "Zm9vYmFyYmF6", text))
        if not isinstance(data, dict):
            continue  # plays, or steps of a journey
        if set(data) <= {"edge", "app", "data"} or set(data) == {"gates", "report"}:
            continue  # hosts.yml; what a module returns
        for name in data:
            if not is_settable(name):
                why = (
                    "is handed over by a playbook, so an inventory can't set it"
                    if name in HANDED
                    else "is unknown"
                )
                yield f"variable {name} {why}"
        own = {name: value for name, value in data.items() if schema.is_own(name)}
        for path, what, *_ in schema.schema_faults(own):
            if not (len(path) == 1 and path[0] in schema.REQUIRED and what == "is missing"):
                yield f"{'.'.join(map(str, path))} {what}"
        for path, what, _ in role_variables.faults(data, OPTIONS, lambda _: True):
            yield f"{path[0]}: {what}"


def variables(page: Page) -> Iterator[str]:
    """Names of variables in backticks."""
    for word in page.words:
        name = word.partition(":")[0]
        if not re.fullmatch(r"[a-z]+_[a-z0-9_]+", name) or name in OTHERS:
            continue
        if not name.startswith((*ROLES, *schema.OWN_PREFIXES, "database_")):
            continue
        known = is_settable(name) or name in ("release_version",)
        if not known and not (page.is_about_a_role and (name in OPTIONS or name in FACTS)):
            yield f"variable {name}"


def paths(page: Page) -> Iterator[str]:
    """Paths of this repository, in backticks and in commands; `<...>` and `*` stand for anything."""
    tops = {name.split("/")[0] for name in FILES if "/" in name}
    for text in [*page.words, *(text for language, text in page.blocks if language != "dockerfile")]:
        for found in re.findall(r"(?<![\w./~<>-])[\w.-]+(?:/[\w.<>*{},-]+)+/?(?::\d+)?", text):
            name, _, line = found.rstrip(",.:").partition(":")
            if name.split("/")[0] not in tops or name.startswith(NOT_HERE):
                continue
            pattern = re.sub(r"<[^>]*>", "*", name).rstrip("/")
            places = [place for base in (page.path.parent, ROOT) for place in base.glob(pattern)]
            if not places:
                yield f"path {name}"
            elif line and int(line) > len(places[0].read_text().split("\n")):
                yield f"path {name} has no line {line}"
    run = " ".join(text for language, text in page.blocks if not language)
    for word in page.words:
        # A file without a directory: one that is here, that the code writes (of each colour, perhaps), or a reader's own.
        if word not in run and re.fullmatch(r"[\w-]+\.(ya?ml|json|cfg|py|html|xml|conf)", word):
            pattern = re.sub(r"blue|green", "[^ ]{1,30}", re.escape(word))
            if not any(Path(name).name == word for name in FILES) and not re.search(pattern, CODE):
                yield f"file {word}"


def links(page: Page) -> Iterator[str]:
    """Relative links, with the headings they lead to."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.prose):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        place = (page.path.parent / name).resolve() if name else page.path
        if not place.exists():
            yield f"link {target}"
        elif anchor:
            text = page.text if place == page.path else place.read_text()
            titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            if anchor not in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}:
                yield f"heading {target}"


def makes(page: Page) -> Iterator[str]:
    """Targets of make."""
    for command in page.commands:
        found = re.match(r"\s*make ([a-z][\w-]*)", command)
        if found and found[1] not in TARGETS:
            yield f"make {found[1]}"


def plays(page: Page) -> Iterator[str]:
    """Playbooks, and what is given with -e: a variable, or a word that the playbook itself reads."""
    for command in page.commands:
        if not re.match(r"\s*(-e |ansible-playbook |\S+\.yml .*-)", command):
            continue
        try:
            words = shlex.split(command, comments=True)
        except ValueError:
            continue  # a sentence with an apostrophe
        books = [word for word in words if word.endswith(".yml") and not word.startswith("-")]
        reads = ""
        for book in books:
            places = list(ROOT.glob(re.sub(r"<[^>]*>", "*", book)))
            if not places:
                yield f"playbook {book}"
            reads += "".join(place.read_text() for place in places)
        for option, given in zip(words, words[1:]):
            if option != "-e":
                continue
            try:
                names = json.loads(given) if given.startswith("{") else [given.partition("=")[0]]
            except ValueError:
                yield f"-e {given} is not JSON"
                continue
            for name in names:
                if name == "name":  # the placeholder for any
                    continue
                reads_it = re.search(rf"\b{name}\b", reads or playbooks())
                if not is_settable(name) and not reads_it:
                    yield f"-e {name}"


def playbooks() -> str:
    return "".join(path.read_text() for path in ROOT.glob("playbooks/*.yml"))


def modules(page: Page) -> Iterator[str]:
    """Modules of Python that are run by name, and modules of Ansible whose documentation is asked for."""
    for command in page.commands:
        for name in re.findall(r"python3? -m ([\w.]+)", command):
            ours = (ROOT / "module_utils" / name.replace(".", "/")).with_suffix(".py")
            if not ours.exists() and (name.startswith("slipway") or importlib.util.find_spec(name) is None):
                yield f"python -m {name}"
        for name in re.findall(r"ansible-doc (?:-\w \w+ )*(\w+)", command):
            if not (ROOT / "library" / f"{name}.py").exists():
                yield f"ansible-doc {name}"


def defaults(page: Page) -> Iterator[str]:
    """The tables of variables and their defaults in a role's README."""
    if not page.is_about_a_role:
        return
    spec = yaml.safe_load((page.path.parent / "meta/argument_specs.yml").read_text())["argument_specs"]
    options = {name: one for entry in spec.values() for name, one in (entry.get("options") or {}).items()}
    for header, rows in TABLE.findall(page.text):
        if [head.strip() for head in header.split("|")][:2] != ["variable", "default"]:
            continue
        for row in rows.splitlines():
            names, said = (re.findall(r"`([^`]*)`", cell) for cell in row.split("|")[1:3])
            # One that is put in words is left to the reader.
            for name, default in zip(names, said) if len(names) == len(said) else ():
                written = re.sub(r"<id>", "{{ migrate_id }}", re.sub(r"<(app_name)>", r"{{ \1 }}", default))
                if str(yaml.safe_load(written)) != str(options.get(name, {}).get("default")):
                    yield f"default of {name}: {default}"


def messages(page: Page) -> Iterator[str]:
    """The tables of what slipway says when something fails: what is not a number or a name is said somewhere."""
    for header, rows in TABLE.findall(page.text):
        if header.split("|")[0].strip() not in ("it says", "message"):
            continue
        for row in rows.splitlines():
            cell = row.strip("|").split("|")[0].strip()
            for phrase in re.findall(r"`([^`]+)`", cell) or [cell]:
                for piece in re.split(r"\.\.\.|\bstill\b|'[^']*'|\d+ ?s?\b|[:,]", phrase):
                    said = piece.strip()
                    if len(said) > 8 and said not in SAID and said not in NOT_OURS:
                        yield f"message {said}"


LOOKS = (declarations, variables, paths, links, makes, plays, modules, defaults, messages)


def complaints(text: str, path: Path) -> list[str]:
    page = Page(text, path)
    return [complaint for look in LOOKS for complaint in look(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_page_is_true(page: Path) -> None:
    assert complaints(page.read_text(), page) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```yaml\nwatch_enabled: true\n```\n", "variable watch_enabled is unknown"),
        ("```yaml\nbuild_builds: []\n```\n", "variable build_builds is handed over by a playbook"),
        ("```yaml\nwatch_seconds: soon\n```\n", "watch_seconds: "),
        ("```yaml\napp_domain: Shop.example\n```\n", "app_domain 'Shop.example' is not allowed"),
        ("Set `watch_enabled` to `false`.", "variable watch_enabled"),
        ("See `roles/start/tasks/main.yml`.", "path roles/start/tasks/main.yml"),
        ("```\nat roles/start/tasks/main.yml:31\n```\n", "path roles/start/tasks/main.yml"),
        ("See `roles/watch/tasks/main.yml:3100`.", "path roles/watch/tasks/main.yml has no line 3100"),
        ("A second file (`slipway-red.yaml`).", "file slipway-red.yaml"),
        ("[there](docs/nowhere.md)", "link docs/nowhere.md"),
        ("[there](docs/declare.md#nowhere)", "heading docs/declare.md#nowhere"),
        ("```\nmake coffee\n```\n", "make coffee"),
        ("```\nansible-playbook nothing.yml -i prod\n```\n", "playbook nothing.yml"),
        ("```\nansible-playbook deploy.yml -i prod -e relaese=x\n```\n", "-e relaese"),
        ("Write `-e '{\"watch_enabled\": false}'`.", "-e watch_enabled"),
        ("`python -m slipway.verify.nothing`", "python -m slipway.verify.nothing"),
        ("| it says | do |\n|---|---|\n| the moon is too full | wait |\n", "message the moon is too full"),
        ("`ansible-doc -M library health_chek`", "ansible-doc health_chek"),
    ],
)
def test_what_is_untrue_is_noticed(text: str, said: str) -> None:
    found = complaints(text, ROOT / "README.md")
    assert found and all(one.startswith(said) for one in found), found


def test_messages_give_variables_that_are_taken() -> None:
    """What a message says to give with -e is a variable, and no text where a boolean is wanted."""
    given = set(re.findall(r"-e (\w+)=(\w*)", SAID)) - {("x", "false")}
    assert given, "messages do give some"
    assert {
        name for name, _ in given if not is_settable(name) and not re.search(rf"\b{name}\b", playbooks())
    } == set()
    assert {name for name, value in given if value in ("true", "false", "yes", "no")} == set()


def test_an_untrue_default_is_noticed() -> None:
    text = "| variable | default | |\n|---|---|---|\n| `watch_seconds`, `watch_failures` | `30`, `4` | |\n"
    assert complaints(text, ROOT / "roles/watch/README.md") == ["default of watch_failures: 4"]


def rows(page: str, header: str) -> dict[str, str]:
    """Return the table of a page that has this first column: what stands in backticks there, and the second column."""
    found = [
        rows
        for head, rows in TABLE.findall((ROOT / page).read_text())
        if head.split("|")[0].strip() == header
    ]
    cells = [row.strip("|").split("|") for row in found[0].splitlines()]
    return {cell[0].strip(" `"): cell[1].strip() for cell in cells}


def test_the_maps_have_every_package() -> None:
    """CONTRIBUTING says of each what its own docstring says, ARCHITECTURE what is decided there."""
    packages = {
        path.parent.name: path.read_text().strip().strip('"')
        for path in ROOT.glob("module_utils/slipway/*/__init__.py")
    }
    assert rows("CONTRIBUTING.md", "package") == packages
    assert set(rows("docs/ARCHITECTURE.md", "package of `module_utils/slipway`")) == set(packages)
