# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""What the verification modules share: a module whose nested arguments may hold secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ..masking.redactor import Redactor, secret_values
from .deadline import StillBusy
from .moments import MOMENTS
from .predicates import SpecError
from .selectors import MissingJmespath

_REPLICA = {
    "name": {"type": "str"},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "route": {"type": "str"},
    "health": {"type": "str"},
}
# What all three modules take: where, when, and what is not to be shown.
COMMON: dict[str, dict[str, Any]] = {
    "base_url": {"type": "str"},
    "connect_to": {"type": "str"},
    "ca_file": {"type": "path"},
    "targets": {"type": "list", "elements": "dict", "options": _REPLICA},
    "moment": {"type": "str", "default": "demand", "choices": list(MOMENTS)},
    "parse_only": {"type": "bool", "default": False},
    "secrets": {"type": "list", "elements": "str", "default": [], "no_log": True},
}


class SecretiveModule(AnsibleModule):  # type: ignore[misc]
    """An AnsibleModule that finds the secrets inside its arguments by itself.

    `no_log` on a list of checks would mask every name and URL in it, and not setting it would put passwords
    into the result's `invocation` and the host's log. So nothing is logged on the host, and what
    secret_values() finds is masked in whatever is returned, failures of argument parsing included.
    """

    def __init__(self, argument_spec: dict[str, Any]) -> None:
        super().__init__(argument_spec=argument_spec, supports_check_mode=True, no_log=True)
        self.redactor = Redactor(secret_values(self.params) | set(self.no_log_values))

    def fail_json(self, msg: str, **results: Any) -> NoReturn:
        """Fail; secrets are masked even when the arguments were never fully parsed."""
        self.no_log_values.update(secret_values(self.params))
        super().fail_json(msg=msg, **results)
        raise AssertionError("fail_json returned")

    def exit_json(self, **results: Any) -> NoReturn:
        """Succeed, with secrets masked."""
        self.no_log_values.update(secret_values(self.params))
        super().exit_json(**results)
        raise AssertionError("exit_json returned")

    def answer(self, work: Callable[[], dict[str, Any]]) -> NoReturn:
        """End with what `work` returns: as failed where its `failed` says so, where a declaration is wrong, or it never ends.

        `warned` becomes warnings, and `lacking` is said to be missing; what was found to be secret meanwhile is masked, too.
        """
        try:
            result = work()
        except SpecError as error:
            self.fail_spec(error)
        except StillBusy as error:
            self.fail_json(msg=str(error))
        for library in result.pop("lacking", []):
            result["msg"] += f"\n{missing_required_lib(library)}"
        for warning in result.pop("warned", []):
            self.warn(warning)
        self.no_log_values.update(self.redactor.values)
        if result.pop("failed"):
            self.fail_json(**result)
        # What a journey leaves in the application is the application's business: the host is as it was.
        self.exit_json(changed=False, **result)

    def fail_spec(self, error: SpecError) -> NoReturn:
        """Fail because a declaration is wrong: every mistake on a line of its own."""
        lines = "\n".join(f"- {problem}" for problem in error.problems)
        message = f"{len(error.problems)} mistakes in the declaration, nothing was run:\n{lines}"
        if isinstance(error, MissingJmespath):
            message = f"{error}; {missing_required_lib('jmespath')}"
        self.fail_json(msg=self.redactor.text(message))
