#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: Build the images of a release once, on the controller
description:
  - Runs C(docker build) (BuildKit) for each build, one after the other, without pulling base images that are
    there.
  - A build whose tag exists already and carries the same inputs (revision, context, Dockerfile, target,
    arguments; kept in the label C(slipway.build)) is skipped.
  - Images which are not built but referred to (a database, say) are looked up, and pulled when missing.
  - Runs on the controller. Every 30 seconds a long build says which step it is at.
options:
  source:
    description: The exported source, see M(source_export). Required with O(builds).
    type: path
  revision:
    description: The revision of O(source). Required with O(builds).
    type: str
  builds:
    description: Images to build.
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: The service the image is for; names it in results and messages.
        type: str
        required: true
      tag:
        description: >
          The image's full reference, C(shop/web:4f1c2d3e4a5b) say. Without it O(prefix)/service:O(tag), and
          services that are built alike share one image.
        type: str
      context:
        description: Build context, relative to O(source).
        type: str
        default: .
      dockerfile:
        description: Dockerfile, relative to the context.
        type: str
        default: Dockerfile
      target:
        description: Stage of the Dockerfile.
        type: str
      args:
        description: Build arguments. They end in the image's history and on command lines, so never a secret.
        type: dict
        default: {}
  prefix:
    description: First part of the names of builds that have no tag of their own.
    type: str
    default: slipway
  tag:
    description: Tag of those builds, usually the short revision.
    type: str
    default: built
  references:
    description: Images that exist somewhere else.
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: The service the image is for.
        type: str
        required: true
      reference:
        description: >
          The image's reference. One with a digest (C(postgres:17@sha256:...)) is pulled by it.
        type: str
        required: true
  unpinned:
    description: >
      Services in O(references) whose image keeps its name. Any other image is known on the hosts by its tag and the start of
      its id (C(shop-web:3f2a1b-1f2e3d4c5b6a)), a name that never comes to stand for another image.
    type: list
    elements: str
    default: []
  ca_file:
    description: >
      CA bundle on the controller for builds behind a proxy that intercepts TLS, the build secret C(ca).
      A Dockerfile uses it with
      C(RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt ...);
      nothing of it stays in the image.
    type: path
  proxy:
    description: Proxies for builds, as Docker's predefined build arguments; no Dockerfile needs to name them.
    type: dict
    suboptions:
      http_proxy:
        description: Proxy for HTTP.
        type: str
      https_proxy:
        description: Proxy for HTTPS.
        type: str
      no_proxy:
        description: Hosts reached without one, separated by commas.
        type: str
  log:
    description: File for the output of the builds. A temporary one by default.
    type: path
attributes:
  check_mode:
    support: full
    description: Says what would be built or pulled.
  diff_mode:
    support: none
author: [slipway contributors]
"""

EXAMPLES = r"""
- name: Build the release's images
  image_build:
    source: "{{ source.path }}"
    revision: "{{ source.revision }}"
    builds:
      - {service: web}
      - {service: worker, target: worker}
    prefix: shop
    tag: "{{ source.short }}"
    references:
      - {service: db, reference: "postgres:17"}
  delegate_to: localhost
"""

RETURN = r"""
images:
  description: Each image by service. In check mode, RV(images.*.id) of one that is yet to be built is empty.
  returned: success
  type: dict
  contains:
    reference:
      description: The name hosts know the image by.
      type: str
    id:
      description: The image's id on the controller's engine.
      type: str
    size:
      description: Size in bytes.
      type: int
    layers:
      description: Number of layers.
      type: int
    created:
      description: When the image was made (ISO 8601).
      type: str
    changed:
      description: Whether it was built or pulled now.
      type: bool
    duration_s:
      description: Seconds that took.
      type: float
report:
  description: The images for the release's report, section C(images).
  returned: success
  type: dict
"""

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.images.build import (
    LABEL,
    Build,
    failure,
    mistakes,
    pinned_tag,
    proxy_environment,
    with_tags,
)
from ansible.module_utils.slipway.images.engine import DockerError, ImageFacts, docker, inspect


def described(reference: str, image: ImageFacts | None, changed: bool, started: float) -> dict[str, Any]:
    """Return the result of one image."""
    return {
        "reference": reference,
        "id": image.id if image else "",
        "size": image.size if image else 0,
        "layers": len(image.layers) if image else 0,
        "created": image.created if image else "",
        "changed": changed,
        "duration_s": round(time.monotonic() - started, 2),
    }


def built(module: AnsibleModule, build: Build) -> dict[str, Any]:
    """Build one image unless it is there."""
    started = time.monotonic()
    source, revision = Path(module.params["source"]), module.params["revision"]
    image = inspect(module.run_command, build.tag)
    if image and image.labels.get(LABEL) == build.key(revision):
        return described(pinned(module, build.tag, image), image, False, started)
    if module.check_mode:
        return described(build.tag, None, True, started)
    environment = proxy_environment(module.params["proxy"] or {})
    command = build.command(source, revision, module.params["ca_file"], sorted(environment))
    log = Path(module.params["log"] or Path(module.tmpdir) / "build.log")
    # The output goes to a file at once, where the progress of a long build can be read.
    rc, _, _ = module.run_command(
        ["sh", "-c", 'log=$1; shift; exec "$@" >"$log" 2>&1 </dev/null', "sh", str(log), *command],
        environ_update={"DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1", **environment},
    )
    if rc != 0:
        text = log.read_text(errors="replace")
        module.fail_json(msg=failure(build, command, text, time.monotonic() - started), rc=rc)
    image = inspect(module.run_command, build.tag)
    return described(pinned(module, build.tag, image) if image else build.tag, image, True, started)


def pinned(module: AnsibleModule, reference: str, image: ImageFacts) -> str:
    """Give an image the name that a release knows it by: one that never stands for another image.

    Built again with other arguments, or pulled anew, a tag moves; on a host it would move under what is live.
    """
    name: str = pinned_tag(reference, image.id)
    if not module.check_mode:
        docker(module.run_command, "tag", image.id, name)
    return name


def referred(module: AnsibleModule, reference: str, pin: bool) -> dict[str, Any]:
    """Look up an image by reference, and pull it when it is missing."""
    started = time.monotonic()
    image = inspect(module.run_command, reference)
    missing = image is None
    if missing and not module.check_mode:
        rc, _, err = module.run_command(["docker", "pull", "--quiet", reference])
        if rc != 0:
            module.fail_json(
                msg=f"the image {reference} is not on the controller and cannot be pulled: {err.strip()}. "
                f"Correct the reference, `docker login` to its registry, or bring it here with `docker load`"
            )
        image = inspect(module.run_command, reference)
    if image and (pin or "@" in reference):
        reference = pinned(module, reference, image)
    return described(reference, image, missing, started)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path"},
            "revision": {"type": "str"},
            "builds": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "service": {"type": "str", "required": True},
                    "tag": {"type": "str"},
                    "context": {"type": "str", "default": "."},
                    "dockerfile": {"type": "str", "default": "Dockerfile"},
                    "target": {"type": "str"},
                    "args": {"type": "dict", "default": {}},
                },
            },
            "prefix": {"type": "str", "default": "slipway"},
            "tag": {"type": "str", "default": "built"},
            "references": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "service": {"type": "str", "required": True},
                    "reference": {"type": "str", "required": True},
                },
            },
            "unpinned": {"type": "list", "elements": "str", "default": []},
            "ca_file": {"type": "path"},
            "proxy": {
                "type": "dict",
                "options": {
                    "http_proxy": {"type": "str", "no_log": True},
                    "https_proxy": {"type": "str", "no_log": True},
                    "no_proxy": {"type": "str"},
                },
            },
            "log": {"type": "path"},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8"}
    builds = with_tags(module.params["builds"], module.params["prefix"], module.params["tag"])
    if builds and not (module.params["source"] and module.params["revision"]):
        module.fail_json(msg="builds need a source and its revision")
    found = mistakes(builds, Path(module.params["source"]) if builds else None)
    ca_file = module.params["ca_file"]
    if ca_file and not Path(ca_file).is_file():
        found.append(f"the CA bundle {ca_file} (ca_file) does not exist on the controller")
    if found:
        module.fail_json(msg="; ".join(found))
    try:
        images = {build.service: built(module, build) for build in builds}
        for image in module.params["references"]:
            images[image["service"]] = referred(
                module, image["reference"], image["service"] not in module.params["unpinned"]
            )
    except DockerError as error:
        module.fail_json(msg=f"{error}. Is Docker installed and running on the controller?")
    module.exit_json(
        changed=any(image["changed"] for image in images.values()), images=images, report={"images": images}
    )


if __name__ == "__main__":
    main()
