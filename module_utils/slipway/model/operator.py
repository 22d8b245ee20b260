# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Who runs this, and where: for the lock, which names its holder to others, and for the report."""

from __future__ import annotations

import getpass
import os
import socket


def operator() -> str:
    """Return the name of the user who runs this process: with sudo, of the one who called it.

    A user without a name, as in some containers, is `uid <number>`.
    """
    called = os.environ.get("SUDO_USER")
    if called:
        return called
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return f"uid {os.getuid()}"


def controller() -> str:
    """Return the name of this host, without its domain or with it, as the host itself has it."""
    return socket.gethostname()
