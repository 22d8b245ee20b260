"""Which release this is."""

import os

VERSION = "1.0.0"
#: The oldest schema revision this code can work with. Newer ones are fine: migrations only ever add.
SCHEMA = "0001"

REVISION = os.environ.get("APP_REVISION", "unknown")
RELEASE = os.environ.get("APP_RELEASE") or REVISION
