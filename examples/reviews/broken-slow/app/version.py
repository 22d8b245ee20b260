"""Which release this is."""

import os

VERSION = "2.5.0"
#: The oldest schema revision this code can work with. Newer ones are fine: migrations only ever add.
SCHEMA = "0002"

REVISION = os.environ.get("APP_REVISION", "unknown")
RELEASE = os.environ.get("APP_RELEASE") or REVISION
