#!/usr/bin/python
# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

DOCUMENTATION = r"""
module: image_ship
short_description: Bring images from the controller's engine to a host's, without a registry
extends_documentation_fragment: [fence]
description:
  - Asks the host which of the images and layers it has. An image that is there only gets its tag.
  - Otherwise an archive of the missing images, without the layers the host has, is compressed, sent over
    Ansible's own connection, loaded, and the ids are compared. Hosts that miss the same share one archive.
  - The next run continues a transfer that was interrupted. When the host turns out to lack a layer it seemed to
    have, the whole archive is sent.
  - With O(registry) the controller pushes the images once, and the host pulls them by digest.
  - The host needs the Docker engine and Python. The engines' image stores may differ (containerd's or the
    older one); ids are then not equal, and images are compared by layers and configuration.
options:
  images:
    description: The images.
    type: list
    elements: dict
    required: true
    suboptions:
      reference:
        description: Name and tag, on the controller and on the host.
        type: str
        required: true
      id:
        description: >
          Id that the image must have on the controller, so that a tag that was moved since the build is noticed. In check
          mode an empty id means an image that is yet to be built.
        type: str
      fingerprint:
        description: Internal, set by the action plugin.
        type: str
      layers:
        description: Internal, set by the action plugin.
        type: list
        elements: str
        default: []
      digest:
        description: Internal, set by the action plugin.
        type: str
  cache_dir:
    description: Directory on the controller for archives. What was not used for a day is removed.
    type: path
    required: true
  staging_dir:
    description: >
      Directory on the host that holds an archive until it is loaded, used by this module alone, for one
      system.
    type: path
    default: /var/lib/slipway/incoming
  compress:
    description: Whether archives are compressed with zstd, if the controller has it and the host can read it.
    type: bool
    default: true
  registry:
    description: A registry to go through instead.
    type: dict
    suboptions:
      url:
        description: Host, port and path before the image names, such as C(registry.example.com:5000/shop).
        type: str
        required: true
      username:
        description: User, if it asks for one.
        type: str
      password:
        description: Password.
        type: str
      ca:
        description: >
          File on the controller with the CA of the registry's certificate. It is put where the engines of
          controller and host look for it, below C(/etc/docker/certs.d).
        type: str
  step:
    description: Internal, set by the action plugin that drives this module.
    type: str
    choices: [probe, load, pull]
    default: probe
  archive:
    description: Internal, name of the staged archive.
    type: str
attributes:
  check_mode:
    support: full
    description: Says how many layers and bytes would be sent.
  diff_mode:
    support: full
    description: Which images come to the host, and how.
author: [slipway contributors]
"""

EXAMPLES = r"""
- name: Ship the release's images
  image_ship:
    images:
      - {reference: "shop/web:4f1c2d3e4a5b", id: "sha256:9640..."}
    cache_dir: "{{ playbook_dir }}/var/cache/images"

- name: Ship them through a registry
  image_ship:
    images:
      - {reference: "shop/web:4f1c2d3e4a5b"}
    cache_dir: "{{ playbook_dir }}/var/cache/images"
    registry:
      url: registry.example.com:5000/shop
      username: deploy
      password: "{{ vault_registry_password }}"
"""

RETURN = r"""
images:
  description: The images by reference.
  returned: success
  type: dict
  contains:
    id:
      description: The id on the controller.
      type: str
    host_id:
      description: The id on the host; the same unless the kinds of image store differ. Empty in check mode.
      type: str
bytes_sent:
  description: Bytes that went over the connection (would go, in check mode). With a registry 0.
  returned: success
  type: int
layers_sent:
  description: Layers that were sent.
  returned: success
  type: int
layers_known:
  description: Layers of the missing images that the host had already.
  returned: success
  type: int
seconds:
  description: How long it took.
  returned: success
  type: float
via:
  description: C(nothing to send), C(tag), C(archive), C(whole archive) after a fallback, or C(registry).
  returned: success
  type: str
gates:
  description: One for each image, its id (or what is compared instead) on the host beside the controller's.
  returned: success
  type: list
report:
  description: The figures above for the release's report, section C(build).
  returned: success
  type: dict
lost:
  description: Who has the system now.
  returned: when this run has lost it
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway.host.fence import OPTION, Lost, see
from ansible.module_utils.slipway.images.engine import DockerError
from ansible.module_utils.slipway.images.host import step

IMAGE = {
    "reference": {"type": "str", "required": True},
    "id": {"type": "str"},
    "fingerprint": {"type": "str"},
    "layers": {"type": "list", "elements": "str", "default": []},
    "digest": {"type": "str"},
}
REGISTRY = {
    "url": {"type": "str", "required": True},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    # The action plugin has put the file's text in the place of its name.
    "ca": {"type": "str"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "images": {"type": "list", "elements": "dict", "required": True, "options": IMAGE},
            "cache_dir": {"type": "path", "required": True},
            "staging_dir": {"type": "path", "default": "/var/lib/slipway/incoming"},
            "compress": {"type": "bool", "default": True},
            "registry": {"type": "dict", "options": REGISTRY},
            "step": {"type": "str", "choices": ["probe", "load", "pull"], "default": "probe"},
            "archive": {"type": "str"},
            "fence": OPTION,
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8"}
    try:
        see(None if module.check_mode else module.params["fence"])
        result = step(module.run_command, module.params, module.check_mode)
    except (DockerError, OSError) as error:
        module.fail_json(msg=str(error))
    except Lost as error:
        module.fail_json(msg=str(error), **error.result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
