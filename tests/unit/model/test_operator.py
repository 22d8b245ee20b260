"""Who is named as the one who runs slipway."""

from __future__ import annotations

import getpass
import os
import pwd

import pytest
from ansible.module_utils.slipway.model.operator import controller, operator

NAMES = ("SUDO_USER", "LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_the_user_who_runs_it() -> None:
    assert operator() == pwd.getpwuid(os.getuid()).pw_name


def test_the_user_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "root")
    assert operator() == "root"
    monkeypatch.setenv("SUDO_USER", "anna")
    assert operator() == "anna"


@pytest.mark.parametrize("error", [KeyError("uid not found"), OSError("no username set")])
def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def nameless() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert operator() == f"uid {os.getuid()}"


def test_the_host_it_runs_on() -> None:
    assert controller() == os.uname().nodename
