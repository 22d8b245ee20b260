#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: image_build
short_description: Build the images of a release once, on the controller
description:
  - Runs C(docker build) (BuildKit) for each build, one after the other, without pulling base images that are
    there already.
  - A build whose tag exists already and carries the same inputs (revision, context, Dockerfile, target,
    arguments; kept in the label C(slipway.build)) is skipped.
  - Images that are not built but named (that of a database, say) are looked up, and pulled when missing.
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
          The image's full reference, such as C(shop/web:4f1c2d3e4a5b). Without it, O(prefix)/service:O(tag); services that are
          built alike then share one image.
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
        description: Build arguments. They stay in the image's history and appear on command lines, so they must hold no secret.
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
          The image's reference. One with a digest (C(postgres:17@sha256:...)) is pulled by that digest.
        type: str
        required: true
  unpinned:
    description: >
      Services in O(references) whose image keeps its name. Any other image is known on the hosts by its tag and the start of
      its id (C(shop-web:3f2a1b-1f2e3d4c5b6a)), a name that never comes to mean another image.
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
    support: full
    description: Which images are built or pulled.
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

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.images.builder import BuildError, provide

BUILD = {
    "service": {"type": "str", "required": True},
    "tag": {"type": "str"},
    "context": {"type": "str", "default": "."},
    "dockerfile": {"type": "str", "default": "Dockerfile"},
    "target": {"type": "str"},
    "args": {"type": "dict", "default": {}},
}
REFERENCE = {"service": {"type": "str", "required": True}, "reference": {"type": "str", "required": True}}
PROXY = {
    "http_proxy": {"type": "str", "no_log": True},
    "https_proxy": {"type": "str", "no_log": True},
    "no_proxy": {"type": "str"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path"},
            "revision": {"type": "str"},
            "builds": {"type": "list", "elements": "dict", "default": [], "options": BUILD},
            "prefix": {"type": "str", "default": "slipway"},
            "tag": {"type": "str", "default": "built"},
            "references": {"type": "list", "elements": "dict", "default": [], "options": REFERENCE},
            "unpinned": {"type": "list", "elements": "str", "default": []},
            "ca_file": {"type": "path"},
            "proxy": {"type": "dict", "options": PROXY},
            "log": {"type": "path"},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8"}
    log = module.params["log"] or f"{module.tmpdir}/build.log"
    try:
        result = provide(module.run_command, {**module.params, "log": log}, module.check_mode)
    except BuildError as error:
        module.fail_json(msg=str(error), **error.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
