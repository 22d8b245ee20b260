"""As much of a MongoDB replica set member as a client needs to log in: OP_MSG, SCRAM-SHA-256, hello, ping, buildInfo.

PASSWORD lets the user `app` in; ROLE is primary, secondary, standalone or router; TLS, when given, a PEM file.
"""

import base64
import hashlib
import hmac
import os
import secrets
import socketserver
import ssl
import struct

import bson

PASSWORD = os.environ.get("PASSWORD", "")
ROLE = os.environ.get("ROLE", "standalone")
SALT = secrets.token_bytes(28)
ROUNDS = 15000


def hello():
    found = {"maxWireVersion": 21, "minWireVersion": 0, "maxBsonObjectSize": 16777216}
    found |= {"maxMessageSizeBytes": 48000000, "maxWriteBatchSize": 100000, "readOnly": False}
    found |= {"saslSupportedMechs": ["SCRAM-SHA-256"], "isWritablePrimary": ROLE != "secondary"}
    if ROLE == "router":
        found["msg"] = "isdbgrid"
    if ROLE in ("primary", "secondary"):
        found |= {"setName": "rs0", "setVersion": 1, "hosts": ["127.0.0.1:27017"], "me": "127.0.0.1:27017"}
        found["secondary"] = ROLE == "secondary"
    return found


class Refused(Exception):
    pass


class Session(socketserver.BaseRequestHandler):
    def setup(self):
        self.known = not PASSWORD
        self.final = b""

    def handle(self):
        if os.environ.get("TLS"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(os.environ["TLS"])
            self.request = context.wrap_socket(self.request, server_side=True)
        while head := self.exactly(16):
            size, number, _answers, operation = struct.unpack("<iiii", head)
            body = self.exactly(size - 16)
            if operation != 2013:  # drivers greet with OP_QUERY where they do not know the server yet
                self.reply_query(number)
                continue
            document = bson.decode(body[5 : 5 + struct.unpack("<i", body[5:9])[0]])
            try:
                found = {**self.answer(document), "ok": 1.0}
            except Refused as error:
                found = {"ok": 0.0, "errmsg": str(error), "code": 18 if "Auth" in str(error) else 13}
            payload = struct.pack("<IB", 0, 0) + bson.encode(found)
            self.request.sendall(struct.pack("<iiii", 16 + len(payload), 1, number, 2013) + payload)

    def reply_query(self, number):
        payload = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode({**hello(), "ismaster": True, "ok": 1.0})
        self.request.sendall(struct.pack("<iiii", 16 + len(payload), 1, number, 1) + payload)

    def exactly(self, size):
        data = b""
        while len(data) < size:
            piece = self.request.recv(size - len(data))
            if not piece:
                return b""
            data += piece
        return data

    def answer(self, document):
        command = next(iter(document))
        if command in ("hello", "ismaster", "isMaster"):
            return hello()
        if command == "saslStart":
            return self.challenge(document)
        if command == "saslContinue":
            return self.verify(document)
        if command == "ping":
            return {}
        if not self.known:
            raise Refused(f"command {command} requires authentication")
        if command in ("buildInfo", "buildinfo"):
            return {"version": "7.0.12", "versionArray": [7, 0, 12, 0], "bits": 64}
        if command == "endSessions":
            return {}
        raise Refused(f"no such command: '{command}'")

    def challenge(self, document):
        if document["mechanism"] != "SCRAM-SHA-256" or document["$db"] != "admin":
            raise Refused("Authentication failed.")
        self.bare = document["payload"].decode()[3:]
        name, nonce = self.bare.split(",")[:2]
        self.user_known = name == "n=app"
        self.nonce = nonce[2:] + secrets.token_urlsafe(18)
        self.first = f"r={self.nonce},s={base64.b64encode(SALT).decode()},i={ROUNDS}"
        return {"conversationId": 7, "done": False, "payload": self.first.encode()}

    def verify(self, document):
        text = document["payload"].decode()
        if not text:
            return {"conversationId": 7, "done": True, "payload": b""}
        without, _comma, proof = text.rpartition(",p=")
        message = f"{self.bare},{self.first},{without}".encode()
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), SALT, ROUNDS)
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        wanted = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        nonce = dict(part.split("=", 1) for part in without.split(","))["r"]
        if not (
            self.user_known and nonce == self.nonce and hmac.compare_digest(base64.b64decode(proof), wanted)
        ):
            raise Refused("Authentication failed.")
        self.known = True
        server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        return {"conversationId": 7, "done": False, "payload": b"v=" + base64.b64encode(server)}


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server(("0.0.0.0", 27017), Session).serve_forever()
