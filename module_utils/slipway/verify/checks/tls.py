# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The check kind `tls`: what a server shows and accepts before any byte of the application."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
import warnings
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

from ..http.client import (
    Address,
    Trace,
    in_thread,
    open_socket,
    open_stream,
    parse_address,
    ssl_reason,
    tls_context,
)
from ..http.wire import HttpError
from ..predicates import MISSING, Predicate, SpecError, unknown_keys
from .base import Clause, Facts, Kind, flag

PROTOCOLS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
# How OpenSSL says that it is itself that will not speak a protocol.
_OWN_REFUSAL = ("no protocols available", "no ciphers available")


def _address(value: Any) -> Address:
    return parse_address(value, 443)


class TlsCheck(Kind):
    """Chain, name, remaining days, protocols, and the key that belongs to the certificate."""

    name = "tls"
    plain_option = "address"
    required = ("address",)
    options: ClassVar = {
        "address": _address,
        "server_name": str,
        "ca_file": str,
        "cert_file": str,
        "key_file": str,
    }
    expectations: ClassVar = {
        "trusted": flag,
        "days_left": float,
        "protocols": None,
        "key_matches": flag,
        "certificate_matches": flag,
    }
    defaults: ClassVar = {"trusted": True, "days_left": {"gte": 7}}

    def __init__(self, given: Any, expect: Any, where: str) -> None:
        super().__init__(given, expect, where)
        needed = {"key_matches": ("cert_file", "key_file"), "certificate_matches": ("cert_file",)}
        for key, files in needed.items():
            missing = [name for name in files if key in self.expect and name not in self.option]
            if missing:
                raise SpecError(f"{where}.tls: {key} needs {' and '.join(missing)}")

    def clause(self, key: str, expected: Any, where: str) -> list[Clause]:
        """`protocols` is `{accepted: [...], refused: [...]}`; the rest are predicates."""
        if key != "protocols":
            return super().clause(key, expected, where)
        if not isinstance(expected, dict) or not expected:
            raise SpecError(f"{where}: must be accepted and/or refused with a list of protocols")
        problems = unknown_keys(expected, ("accepted", "refused"), where)
        clauses = []
        for side in ("accepted", "refused"):
            names = expected.get(side, [])
            if side in expected and (not isinstance(names, list) or not names):
                problems.append(f"{where}.{side}: must be a list with at least one of {', '.join(PROTOCOLS)}")
                continue
            problems += [p for name in names for p in unknown_keys({name: 0}, PROTOCOLS, f"{where}.{side}")]
            clauses += [Clause(name, _protocol(name), Predicate(side, where)) for name in names]
        if problems or not clauses:
            raise SpecError(*(problems or [f"{where}: names no protocol"]))
        return clauses

    def subject(self) -> str:
        """The address, and the name asked for where it differs."""
        name = self.option.get("server_name")
        return f"{self.option['address']}" + (f" as {name}" if name else "")

    async def look(self, trace: Trace, timeout: float) -> Facts:
        """A handshake that verifies, another that does not where it fails, and one for each protocol."""
        return await asyncio.wait_for(self._look(trace, timeout), timeout)

    async def _look(self, trace: Trace, timeout: float) -> Facts:
        address: Address = self.option["address"]
        server_name = self.option.get("server_name", address.host)
        facts: Facts = {}
        certificate = None
        try:
            context = tls_context(self.option.get("ca_file"))
            certificate = await self._certificate(address, context, server_name, trace, timeout)
            facts["trusted"] = True
        except HttpError as error:
            if not str(error).startswith("certificate not accepted"):
                raise
            facts["trusted"] = str(error)
            certificate = await self._certificate(
                address, tls_context(verify=False), server_name, Trace(), timeout
            )
        not_after = expiry(certificate)
        facts["days_left"] = round((not_after.timestamp() - time.time()) / 86400, 1)
        wanted = [clause.label for clause in self.clauses if clause.label in PROTOCOLS]
        trace.begin("trying protocols")
        answers = await asyncio.gather(*(self._try(address, server_name, name, timeout) for name in wanted))
        facts["protocols"] = dict(zip(wanted, answers))
        if "certificate_matches" in self.expect or "key_matches" in self.expect:
            facts.update(await in_thread(self._files, certificate))
        return facts

    async def _certificate(
        self, address: Address, context: ssl.SSLContext, server_name: str, trace: Trace, timeout: float
    ) -> bytes:
        _reader, writer = await open_stream(address, trace, timeout, context, server_name)
        writer.transport.abort()
        if not trace.certificate:
            raise HttpError("the server shows no certificate")
        return trace.certificate

    async def _try(self, address: Address, server_name: str, name: str, timeout: float) -> str:
        """accepted, refused, or why this host cannot tell."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # Otherwise the library refuses old protocols on its own and the server would get the credit.
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.maximum_version = PROTOCOLS["TLSv1.3"]
        with warnings.catch_warnings():
            # Offering what is deprecated is how one finds out whether it is still accepted.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = PROTOCOLS[name]
            context.maximum_version = PROTOCOLS[name]
        sock = await open_socket(address, Trace(), timeout)
        try:
            _reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname=server_name
            )
        except ssl.SSLError as error:
            reason = ssl_reason(error)
            return f"unknown: {reason} on this host" if reason in _OWN_REFUSAL else "refused"
        except OSError:
            return "refused"
        finally:
            sock.close()
        writer.transport.abort()
        return "accepted"

    def _files(self, served: bytes) -> Facts:
        """Whether the files on this host belong to each other and to what is served."""
        cert_file = self.option["cert_file"]
        facts: Facts = {}
        try:
            pem = Path(cert_file).read_text(encoding="ascii")
            begin = pem.index("-----BEGIN CERTIFICATE-----")
            end = pem.index("-----END CERTIFICATE-----", begin) + len("-----END CERTIFICATE-----")
            own = ssl.PEM_cert_to_DER_cert(pem[begin:end])
        except (OSError, ValueError) as error:
            raise HttpError(f"cert_file {cert_file}: {error}") from None
        facts["certificate_matches"] = hashlib.sha256(own).digest() == hashlib.sha256(served).digest()
        if "key_file" in self.option:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            try:
                # An encrypted key would otherwise ask for its passphrase on a terminal.
                context.load_cert_chain(cert_file, self.option["key_file"], password=lambda: b"")
                facts["key_matches"] = True
            except ssl.SSLError as error:
                facts["key_matches"] = ssl_reason(error)
            except OSError as error:
                raise HttpError(f"key_file {self.option['key_file']}: {error.strerror or error}") from None
        return facts


def _protocol(name: str) -> Any:
    return lambda facts: facts["protocols"].get(name, MISSING)


def expiry(certificate: bytes) -> datetime:
    """notAfter of a DER certificate, trusted or not; raises HttpError.

    The ssl module decodes only certificates it trusts, and an expired one is where the date is wanted most.
    """
    try:
        _tag, body, _rest = _der(certificate)
        _tag, rest, _ = _der(body)  # TBSCertificate
        if rest[0] == 0xA0:  # version
            _tag, _value, rest = _der(rest)
        for _field in ("serialNumber", "signature", "issuer"):
            _tag, _value, rest = _der(rest)
        _tag, validity, _ = _der(rest)
        _tag, _not_before, rest = _der(validity)
        tag, not_after, _ = _der(rest)
        text = not_after.decode("ascii")
        layout = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"
        return datetime.strptime(text, layout).replace(tzinfo=timezone.utc)
    except (IndexError, ValueError) as error:
        raise HttpError(f"cannot read the certificate: {error}") from None


def _der(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first DER element, and what follows it."""
    tag, length, offset = data[0], data[1], 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[2 : 2 + size], "big")
        offset += size
    if len(data) < offset + length:
        raise ValueError("cut short")
    return tag, data[offset : offset + length], data[offset + length :]
