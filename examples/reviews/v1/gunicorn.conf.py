"""Gunicorn: two workers by default, behind a proxy that keeps its connections open."""

import os
import pathlib
import shutil

from app.settings import load

_settings = load()

bind = "0.0.0.0:8000"  # the container's own network
workers = _settings.web_concurrency
worker_class = "app.server.Worker"
preload_app = True
worker_tmp_dir = "/dev/shm"  # noqa: S108  # heartbeats of the workers: never on a disk that can stall

# Longer than the proxy keeps an idle connection (nginx: 60 s). Were it shorter, we would close
# connections at the very moment the proxy sends the next request on them.
keepalive = 75
graceful_timeout = 30
timeout = 60

# The workers' counters are files that /metrics adds up, whichever worker is asked.
_metrics = pathlib.Path(os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", "/tmp/metrics"))  # noqa: S108
shutil.rmtree(_metrics, ignore_errors=True)
_metrics.mkdir(parents=True)


def child_exit(server, worker):
    """Forget the gauges of a worker that is gone."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
