"""One list says what is a secret by name, and it hides all that any of those hid that it came from."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from ansible.module_utils.slipway.masking.names import (
    MENTION,
    by_name,
    is_credential,
    is_doubtful,
    is_secret,
    is_suspect,
)
from hypothesis import given
from hypothesis import strategies as st

PROJECT = Path(__file__).resolve().parents[3]
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

# What stood in six places, word for word: what a declaration calls a secret, ...
DECLARED = re.compile(
    r"(?:.*[_.-])?(?:pass|password|passwd|passphrase|secret|secrets|token|api[_-]?key|apikey|auth|authorization|"
    r"proxy-authorization|cookie|set-cookie|credentials?|private[_-]?key)(?:[_-]?(?:again|confirm|confirmation|new|old|repeat|[0-9]))?",
    re.IGNORECASE,
)
# ... a report by the words of its keys, whatever the value is, and where it is a text, ...
REPORTED_WORDS = frozenset(
    ("password", "passwords", "passwd", "passphrase", "pgpassword", "pwd", "secret", "secrets", "token")
) | {"credential", "credentials", "authorization", "cookie", "apikey", "privatekey"}
REPORTED_LAST_WORDS = frozenset(("key", "keys", "tokens", "auth", "cookies"))
HARMLESS_KEYS = frozenset(("primary", "foreign", "public", "index", "partition", "sort", "unique", "host"))
# ... keys of JSON in a body, what is assigned in a text, ...
IN_BODIES = re.compile(
    r"(?:password|passwd|secret|token|api[_-]?key|authorization|cookie|credential|private[_-]?key)",
    re.IGNORECASE,
)
IN_TEXTS = re.compile(
    r"[\w.-]{0,40}(?:passw(?:or)?d|passphrase|secret|token|(?:api|private|access)[_-]?key)[\w.-]{0,40}",
    re.IGNORECASE,
)
# ... and variables of the environment that must not end in an image, or in what a migration prints.
IN_IMAGES = re.compile(
    r"(pass|passw(or)?d|passphrase|pwd|secret|token|key|credentials?|salt)(_|\d|$)", re.IGNORECASE
)
IN_OUTPUT = re.compile(r"PASS|SECRET|TOKEN|KEY|DSN|CREDENTIAL", re.IGNORECASE)
# They disagreed about these. Whoever reads a report wants to see them, and none is a secret.
HARMLESS = re.compile(
    r"(?:primary|foreign|public|index|partition|sort|unique|host)[^a-z0-9]*keys?"
    r"|monkey|turkey|keyspace|keycloak|keyboard|keyword|pass(?:ed|es|ing|ive|age|enger)|bypass|compass",
    re.IGNORECASE,
)


def reported(name: str) -> str:
    """Return what a report took a key for: `secret`, `doubtful` or nothing."""
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", CAMEL.sub("_", name)) if word]
    if any(word in REPORTED_WORDS for word in words):
        return "secret"
    if (words[-1:] == ["pass"] and len(words) > 1) or (
        words and words[-1] in REPORTED_LAST_WORDS and not (len(words) > 1 and words[-2] in HARMLESS_KEYS)
    ):
        return "doubtful"
    return ""


WORDS = re.findall(
    r"[\w-]+",
    "pass password passwords passwd passphrase secret secrets token tokens api_key apikey auth authorization cookie cookies "
    "set-cookie proxy-authorization credential credentials private_key privatekey access_key key keys pwd pgpassword salt dsn",
)
AROUND = re.findall(
    r"\w+", "db app x my user old new again confirm 2 url id name type encoding host PG count value base64 é"
)
STYLES: list[Callable[[list[str]], str]] = [
    "_".join,
    "-".join,
    ".".join,
    "".join,
    lambda words: "_".join(words).upper(),
    lambda words: "-".join(words).title(),
    lambda words: "".join(word.title() for word in words),
    lambda words: words[0].lower() + "".join(word.title() for word in words[1:]),
]


def written(before: Sequence[str], word: str, after: Sequence[str], style: Callable[[list[str]], str]) -> str:
    """Return a name that has `word` in it."""
    return style([part for text in (*before, word, *after) for part in re.split("[_-]", text)])


SOME = st.lists(st.sampled_from(AROUND), max_size=3)
NAMES = st.builds(written, SOME, st.sampled_from(WORDS), SOME, st.sampled_from(STYLES))


def shown_though_hidden_before(name: str) -> bool:
    """Tell whether one of the old lists masked what is not masked now."""
    if HARMLESS.search(name):
        return False
    before = reported(name) or any(old.search(name) for old in (IN_BODIES, IN_TEXTS, IN_IMAGES, IN_OUTPUT))
    if reported(name) == "secret" and not is_secret(name):
        return True
    if DECLARED.fullmatch(CAMEL.sub("_", name)) and not (is_secret(name) and is_credential(name)):
        return True
    return bool(before) and not (is_secret(name) or is_doubtful(name))


@given(NAMES)
def test_what_any_of_the_old_lists_masked_is_masked(name: str) -> None:
    assert not shown_though_hidden_before(name)


def test_so_it_is_with_each_word_and_what_may_stand_around_it() -> None:
    one = [(), *((word,) for word in AROUND)]
    names = {
        written(before, word, after, style)
        for before, word, after, style in itertools.product(one, WORDS, one, STYLES)
    }
    assert [name for name in names if shown_though_hidden_before(name)] == []


@given(NAMES | st.text())
def test_the_answers_agree(name: str) -> None:
    assert not (is_secret(name) and is_doubtful(name))
    assert is_secret(name) or not is_credential(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "name",
            "value",
            "author",
            "keepalive",
            "auth_source",
            "PY",
            "",
            "primary_key",
            "foreignKeys",
            "PUBLIC_KEY",
        ),
        *(
            "ssh host key",
            "monkey",
            "bypass",
            "passed",
            "compass",
            "keyspace",
            "KEYCLOAK_HOST",
            "keyword search",
        ),
    ],
)
def test_harmless(name: str) -> None:
    assert not is_secret(name) and not is_doubtful(name)


@pytest.mark.parametrize(
    "name",
    [
        "key",
        "keys",
        "tokens",
        "max_tokens",
        "cookies",
        "DSN",
        "PGPASSFILE",
        "tokenizer",
        "basic auth",
        "cache keys",
    ],
)
def test_doubtful(name: str) -> None:
    assert is_doubtful(name)


@pytest.mark.parametrize("name", ["secret_encoding", "tokenType", "PASSWORD_FILE", "cookie-name"])
def test_what_says_something_about_a_secret_is_hidden_but_not_looked_for(name: str) -> None:
    assert is_secret(name) and not is_credential(name)


def test_what_is_below_a_secret_is_hidden_and_the_stricter_name_counts() -> None:
    data = {"tokens": {"id": "a", "count": 2, "password": 3}, "password": {"a": [1, "", None, True]}, "a": 1}
    assert by_name(data, lambda value: value) == {
        "tokens": {"id": "********", "count": 2, "password": "********"},
        "password": {"a": ["********", "", None, True]},
        "a": 1,
    }


def lists_of_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the lists of words, and the regular expressions, that are in a module: line and text."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Set, ast.List, ast.Tuple)):
            words = [
                one.value for one in node.elts if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]
            yield node.lineno, " ".join(words)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "|" in node.value:
            yield node.lineno, node.value


def test_no_other_list_says_what_is_a_secret() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{line}"
        for folder in ("module_utils", "library", "plugins")
        for path in (PROJECT / folder).rglob("*.py")
        if path.parent.name != "masking"
        for line, text in lists_of_names(ast.parse(path.read_text()))
        if re.search("pass", text, re.IGNORECASE) and re.search("token|secret", text, re.IGNORECASE)
    ]
    assert found == []


@given(st.from_regex(re.compile(r"\A[A-Z_]{0,8}" + IN_IMAGES.pattern, re.IGNORECASE), fullmatch=True))
def test_what_must_not_end_in_an_image_is_suspect(name: str) -> None:
    assert is_suspect(name)


@given(st.from_regex(IN_OUTPUT))
def test_what_a_migration_must_not_print_is_mentioned(name: str) -> None:
    assert MENTION.search(name.casefold())
