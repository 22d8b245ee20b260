# Copyright: (c) slipway contributors
# SPDX-License-Identifier: Apache-2.0
"""The options of a connection to PostgreSQL, as pg_connect.connection_arguments() declares them."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that modules take over with extends_documentation_fragment."""

    DOCUMENTATION = r"""
options:
  login_host:
    description: Host of the database server.
    type: str
    default: ''
    aliases: [host]
  login_port:
    description: Port of the database server.
    type: int
    default: 5432
    aliases: [port]
  login_user:
    description: Role to connect as. It must own the tables, or be a member of the role that does.
    type: str
    default: postgres
    aliases: [login]
  login_password:
    description: Password of O(login_user).
    type: str
    default: ''
  login_db:
    description: Database to connect to.
    type: str
    default: ''
    aliases: [db, database]
  login_unix_socket:
    description: Directory of the server's Unix domain socket, instead of O(login_host).
    type: str
    default: ''
    aliases: [unix_socket]
  ssl_mode:
    description: How TLS is negotiated; meanings are libpq's.
    type: str
    default: prefer
    choices: [allow, disable, prefer, require, verify-ca, verify-full]
  ca_cert:
    description: File with the certificates of the authorities to trust.
    type: str
    aliases: [ssl_rootcert]
  ssl_cert:
    description: File with the client's certificate.
    type: path
  ssl_key:
    description: File with the client's key.
    type: path
  connect_timeout:
    description: Seconds to wait for a connection.
    type: int
    default: 10
  dsn:
    description: A libpq connection string or URI, used instead of the O(login_host) family (O(login_password)
      still applies).
    type: str
  session_role:
    description: Role to change to after connecting, for example the owner of the tables.
    type: str
requirements:
  - psycopg >= 3.1 (Debian package python3-psycopg) on the host the module runs on
"""
