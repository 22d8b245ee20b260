# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""Brings images from the controller's engine to a host's; see library/image_ship.py for what it promises.

The controller's half runs here, the host's in the module, which is called to look (probe) and to load.
Between the two the archive goes over the connection plugin in chunks that are appended to a file, so that it
works with any connection and any become method, can be continued, and shows how far it is.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# Ansible finds the project's module_utils for modules, but not for plugins on the controller.
_UTILS = str(Path(__file__).resolve().parents[2] / "module_utils")
if _UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_UTILS)

from ansible.module_utils.slipway.host.fence import handed
from ansible.module_utils.slipway.images.archive import ArchiveError
from ansible.module_utils.slipway.images.cache import Parcel, parcel, push, resolve
from ansible.module_utils.slipway.images.engine import DockerError

CHUNK = 16 * 1024 * 1024
EVERY = 10.0
MB = 1024 * 1024
display = Display()


def run_here(command: list[str]) -> tuple[int, str, str]:
    """Run a command on the controller."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    except FileNotFoundError:
        return 127, "", f"{command[0]} is not installed on the controller"
    return done.returncode, done.stdout, done.stderr


class ActionModule(ActionBase):  # type: ignore[misc]
    """See library/image_ship.py."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ship the images to the task's host."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.started = time.monotonic()
        self.vars = task_vars or {}
        self.host = self.vars.get("inventory_hostname", "host")
        self.arguments = handed(self._task.args, self.vars)
        self.cache = Path(self.arguments.get("cache_dir") or "").expanduser().absolute()
        try:
            return {**result, **self.ship()}
        except (DockerError, ArchiveError, OSError) as error:
            raise AnsibleActionFail(str(error)) from error

    def ship(self) -> dict[str, Any]:
        """Look what the host lacks, and send that."""
        check: bool = self._task.check_mode
        images, unbuilt = resolve(run_here, self.arguments.get("images") or [], check)
        there = self.module("probe", images)
        lacking = [image for image in images if image["reference"] in there["lacking"]]
        sent: dict[str, Any] = {"bytes_sent": 0, "layers_sent": 0, "layers_known": 0}
        ids: dict[str, str] = there["ids"]
        via = "tag" if there["tagged"] else "nothing to send"
        if lacking and self.arguments.get("registry"):
            via = "registry"
            ids = {**ids, **({} if check else self.through_registry(lacking))}
        elif lacking:
            via, sent, loaded = self.by_archive(lacking, there, check)
            ids = {**ids, **loaded}
        figures = {**sent, "via": via, "seconds": round(time.monotonic() - self.started, 2)}
        new = {
            **dict.fromkeys(unbuilt, "when it is built"),
            **dict.fromkeys(there["tagged"], "a tag"),
            **{image["reference"]: via for image in lacking},
        }
        return {
            "changed": bool(new),
            "diff": {"before": "", "after": "".join(f"{name}: {how}\n" for name, how in new.items())},
            "images": {
                image["reference"]: {"id": image["id"], "host_id": ids.get(image["reference"], "")}
                for image in images
            },
            "msg": f"not built yet: {', '.join(unbuilt)}" if unbuilt else self.words(figures, check),
            "gates": [] if check else [self.gate(image, ids) for image in images],
            "report": {"build": figures},
            **figures,
        }

    def words(self, figures: dict[str, Any], check: bool) -> str:
        """Return the figures as a sentence."""
        if not figures["layers_sent"]:
            return str(figures["via"])
        verb = "would be sent" if check else f"sent in {figures['seconds']} s"
        return (
            f"{figures['layers_sent']} layers, {figures['bytes_sent'] / MB:.1f} MB {verb}; "
            f"the host has {figures['layers_known']} layers"
        )

    def gate(self, image: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
        """Return the gate of an image: the id seen on the host beside the controller's."""
        seen = ids.get(image["reference"], "")
        gate = {
            "name": f"image {image['reference']}",
            "value": seen[7:19] or "missing",
            "limit": image["id"][7:19],
            "verdict": "pass" if seen else "fail",
        }
        if seen and seen != image["id"]:
            gate["detail"] = "same layers and configuration; the two engines keep images in different stores"
        return gate

    def module(self, step: str, images: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Run a step of the module on the host, and raise what it fails with."""
        keys = ("reference", "id", "fingerprint", "layers", "digest")
        arguments = {
            **self.arguments,
            **more,
            "step": step,
            "images": [{key: image[key] for key in keys if key in image} for image in images],
        }
        if self.arguments.get("registry"):
            arguments["registry"] = self.registry()
        result: dict[str, Any] = self._execute_module(
            "image_ship", module_args=arguments, task_vars=self.vars
        )
        if result.get("failed"):
            raise AnsibleActionFail(result.get("msg", "the module failed"), result=result)
        return result

    def registry(self) -> dict[str, Any]:
        """Return the registry's options with the text of its CA certificate."""
        registry = dict(self.arguments["registry"])
        if registry.get("ca"):
            registry["ca"] = Path(registry["ca"]).expanduser().read_text()
        return registry

    def by_archive(
        self, lacking: list[dict[str, Any]], there: dict[str, Any], check: bool
    ) -> tuple[str, dict[str, Any], dict[str, str]]:
        """Send an archive without the known layers, and the whole one where that was not enough."""
        compress = boolean(self.arguments.get("compress", True))
        sent = 0
        loaded: dict[str, Any] = {}
        for via, known in (("archive", there["known"]), ("whole archive", [])):
            box = parcel(run_here, lacking, known, self.cache, there["version"], compress)
            figures = {"layers_sent": box.layers_sent, "layers_known": box.layers_known}
            if check:
                return via, {**figures, "bytes_sent": box.size}, {}
            self.room(box, there)
            begun = there["staged"].get(box.path.name, 0)
            sent += self.send(box, begun)
            loaded = self.module("load", lacking, archive=box.path.name)
            if not loaded["error"]:
                return via, {**figures, "bytes_sent": sent}, loaded["ids"]
            if not (known or begun):
                break  # that was all of it, in one piece: once more would end alike
            display.display(f"{self.host} | images: {loaded['error']}; the whole archive follows")
            there = {**there, "staged": {}}
        raise DockerError(f"`docker load` failed on {self.host}: {loaded['error']}")

    def room(self, box: Parcel, there: dict[str, Any]) -> None:
        """Refuse to begin what the host's disk cannot hold."""
        # docker load unpacks the archive beside the layers it makes of it.
        for where, needed in (("free", 2 * box.loaded_size), ("free_staging", box.size)):
            free = there[where]
            if free is not None and free < needed:
                raise DockerError(
                    f"{self.host} has {free / MB:.0f} MB free, and the images need {needed / MB:.0f} MB "
                    "for a moment: see `docker system df` and `df -h` there; `docker image prune` helps"
                )

    def send(self, box: Parcel, have: int) -> int:
        """Append to the staged file what is not there yet; return the bytes sent."""
        target = f"{self.arguments.get('staging_dir', '/var/lib/slipway/incoming')}/{box.path.name}"
        offset = have if have <= box.size else 0
        redirect = ">>" if offset else ">"
        said = time.monotonic()
        sent = 0
        with box.path.open("rb") as archive:
            archive.seek(offset)
            while chunk := archive.read(CHUNK):
                done = self._low_level_execute_command(
                    f"umask 077; cat {redirect} {shlex.quote(target)}", in_data=chunk
                )
                if done["rc"] != 0:
                    raise DockerError(
                        f"sending images to {self.host} failed at {(offset + sent) / MB:.0f} of "
                        f"{box.size / MB:.0f} MB: {done['stderr'].strip()}. Run again, and it continues there"
                    )
                redirect = ">>"
                sent += len(chunk)
                if time.monotonic() - said > EVERY:
                    said = time.monotonic()
                    display.display(
                        f"{self.host} | images: {(offset + sent) / MB:.0f} of {box.size / MB:.0f} MB sent"
                    )
        return sent

    def through_registry(self, lacking: list[dict[str, Any]]) -> dict[str, str]:
        """Push once, pull by digest; push again when the registry does not have what it had."""
        pulled: dict[str, Any] = {}
        for again in (False, True):
            pushed = push(run_here, lacking, self.registry(), self.cache, again)
            pulled = self.module("pull", pushed)
            if not pulled["error"]:
                return dict(pulled["ids"])
        raise DockerError(f"{self.host} cannot pull from the registry: {pulled['error']}")
