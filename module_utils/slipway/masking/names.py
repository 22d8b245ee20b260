# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What is a secret by its name: the one list, which everything that masks asks.

To add a word: to `_SECRET` where it counts inside other words, to `_SECRET_ENDING` where it counts at the end of one, to
`_DOUBTFUL` where a number under it is a count; and to `MENTION`. To have a name shown: `_HARMLESS`.

Names are understood however they are written: `db_password`, `X-Auth-Token`, `apiKey`, `PGPASSWORD`. Hiding a
harmless value costs a second look; showing a secret costs the secret. So what merely contains one of the words
is doubtful, and a name is harmless only where it is listed as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

# What stands where a secret stood; the same that Ansible writes for `no_log`.
MASK = "********"

# A value under a name with one of these is hidden, whatever it is. Inside a word, too: PGPASSWORD.
_SECRET = re.compile(r"passw(?:or)?d|passphrase|secret|credential|authorization")
# The same value once more, or another one of its kind: `token2`, `pass_confirm`.
_AGAIN = r"(?:_?(?:again|confirm|confirmation|new|old|repeat|[0-9]+))?"
# The same for these, but at the end of a word only (AUTHTOKEN, token_type), or of the whole name (smtp_pass).
# After a blank, the last two are no name but the end of a title ("login by basic auth").
_SECRET_ENDING = re.compile(
    rf"(?:token|cookie|pwd|salt|(?:api|private|access)_?key){_AGAIN}(?![a-z])"
    rf"|(?:(?<! )pass|(?<![a-z ])auth){_AGAIN}$"
)
# Under these a text may be the secret, while a number is a count that reports show: `keys: 4`, `max_tokens: 1500`.
_DOUBTFUL = re.compile(r"token|cookie|(?:api|private)_?key")
_DOUBTFUL_WORD = re.compile(r"key|pass|dsn")
# In a title ("keyword search") only the last word counts.
_DOUBTFUL_TITLE = re.compile(r"(?<![a-z])(?:keys?|pass|auth|dsn)$")
# What only contains such a word, and what is there to be seen: names of columns, fingerprints.
_HARMLESS = re.compile(
    r"(?<![a-z])(?:(?:primary|foreign|public|index|partition|sort|unique|host)[_ ]?keys?"
    r"|monkeys?|turkey|keyspaces?|keycloak|keyboards?|keywords?"
    r"|pass(?:ed|es|ing|ive|age|engers?)|bypass(?:ed|es)?|compass)(?![a-z])"
)
# What says something about a secret: `secret_encoding`, `token_url`. It is hidden where it stands, but to look
# for it elsewhere would mask ordinary words ("base64") in every text.
_ABOUT = re.compile(
    r"[_ ](?:algorithm|audience|count|domain|encoding|endpoint|error|exception|expires|expiry|field|file|format"
    r"|header|issuer|length|lifetime|limit|name|path|policy|required|scheme|size|source|ttl|type|uri|url)$"
)
# A key of any kind: some are there to be seen, others only look like those.
_ANY_KEY = re.compile(r"key(?:[^a-z]|$)")
# Every name above has one of these in it, in lower case.
MENTION = re.compile(r"key|pass|token|secret|auth|pwd|cookie|credential|salt|dsn")

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BLANKS = re.compile(r"\s+")
_BETWEEN_WORDS = re.compile(r"[^a-z0-9 ]+")


def is_secret(name: str) -> bool:
    """Tell whether a value under this name is hidden, whatever it is."""
    return _kind(name)[0]


def is_doubtful(name: str) -> bool:
    """Tell whether a text under this name may be a secret, while a number is a count.

    This is never so where is_secret() is.
    """
    return _kind(name)[1]


def is_suspect(name: str) -> bool:
    """Tell whether a value under this name may be a secret, one that is harmless in a report included (`host_key`).

    For what is written where it stays, an image or a command line.
    """
    lower = name.casefold()
    said = any(is_secret(one) or is_doubtful(one) for one in (name, lower))
    return said or bool(_ANY_KEY.search(lower))


def is_credential(name: str) -> bool:
    """Tell whether the value under this name is the secret itself, to be looked for in all other texts as well.

    Of the names for which is_secret() holds, those are left out that say something about a secret.
    """
    return _kind(name)[2]


def by_name(data: Any, shown: Callable[[Any], Any], secret: bool = False, doubtful: bool = False) -> Any:
    """Return JSON data without what a key calls a secret, and all below it; `shown` is applied to the rest.

    `secret` and `doubtful` say it of the data themselves. That there is a secret may be seen: null, true, false
    and empty texts stay.
    """
    if data is None or isinstance(data, bool):
        return data
    if isinstance(data, dict):
        copy = {}
        for key, value in data.items():
            kept = shown(str(key))
            # By what it becomes as well: to do it all again must not change anything.
            below_secret = secret or is_secret(str(key)) or is_secret(kept)
            below_doubtful = doubtful or is_doubtful(str(key)) or is_doubtful(kept)
            copy[kept] = by_name(value, shown, below_secret, below_doubtful)
        return copy
    if isinstance(data, (list, tuple, set, frozenset)):
        return [by_name(item, shown, secret, doubtful) for item in data]
    if secret or (doubtful and not isinstance(data, (int, float))):
        return MASK if str(data) else ""
    return shown(data)


@lru_cache(maxsize=4096)
def _kind(name: str) -> tuple[bool, bool, bool]:
    """Return what is_secret, is_doubtful and is_credential say."""
    whole = _words(name)
    if not MENTION.search(whole):
        return False, False, False
    words = _words(_CAMEL.sub("_", name))
    if _SECRET.search(whole) or _SECRET_ENDING.search(words):
        return True, False, not _ABOUT.search(words)
    doubtful_word = _DOUBTFUL_TITLE if " " in words else _DOUBTFUL_WORD
    return False, bool(_DOUBTFUL.search(whole) or doubtful_word.search(words)), False


def _words(name: str) -> str:
    """Return a name in lower case, its words joined by underscores, or by blanks where there were any."""
    words = _BETWEEN_WORDS.sub("_", _BLANKS.sub(" ", name.strip()).casefold()).strip("_")
    return _HARMLESS.sub("", words).strip("_ ")
