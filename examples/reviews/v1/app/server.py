"""Gunicorn's worker: uvicorn, and a way to leave that no client notices."""

from __future__ import annotations

import asyncio
import sys

from gunicorn.arbiter import Arbiter
from uvicorn.main import Server
from uvicorn.workers import UvicornWorker

from app import lifecycle


class DrainingServer(Server):
    """After SIGTERM, first ask every client that keeps its connection to close it, then stop listening.

    Closing idle connections at once loses the request that a client is sending on one of them right now.
    """

    async def main_loop(self) -> None:
        await super().main_loop()
        lifecycle.draining = True
        await asyncio.sleep(lifecycle.settings.drain_seconds)
        # Raised again at the end, as uvicorn does, the signal would look like a crash in gunicorn's log.
        self._captured_signals.clear()


class Worker(UvicornWorker):
    """As uvicorn's own, with the server above."""

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = DrainingServer(config=self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
