"""Which certificates a client accepts."""

from __future__ import annotations

import ssl

import pytest
from ansible.module_utils.slipway.verify.http.client import tls_context


def test_it_does_not_depend_on_the_python_it_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ssl.create_default_context()
    # As Python 3.13 and up make it.
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    monkeypatch.setattr(ssl, "create_default_context", lambda cafile: made)
    tls_context.cache_clear()
    try:
        context = tls_context()
    finally:
        tls_context.cache_clear()
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
