"""Chats with an assistant: accounts, conversations, billing, analytics. State is in memory."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

VERSION = "1.0.0"
REVISION = os.environ.get("APP_REVISION", "unknown")
AREAS = ("auth", "chats", "billing", "analytics")

_missing = [name for name in ("ADMIN_TOKEN", "STRIPE_SECRET_KEY") if not os.environ.get(name)]
if _missing:
    sys.exit(f"chat: refusing to start: {', '.join(_missing)} not set (see .env.example)")
ADMIN_TOKEN = os.environ["ADMIN_TOKEN"]
CHECKOUT_URL = os.environ.get("CHECKOUT_URL") or "https://checkout.example.com"

accounts: dict[str, dict[str, Any]] = {}
sessions: dict[str, str] = {}
chats: dict[str, dict[str, Any]] = {}
costs: Counter[str] = Counter()
app = FastAPI(title="Chat", version=VERSION, docs_url=None, redoc_url=None)


class SignIn(BaseModel):
    """An address and its password."""

    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=200)
    password: str = Field(min_length=8, max_length=200)


class SignUp(SignIn):
    """A new account."""

    username: str = Field(min_length=1, max_length=100)


class NewChat(BaseModel):
    """A conversation to begin."""

    title: str = Field(min_length=1, max_length=200)


class NewMessage(BaseModel):
    """What the user says."""

    content: str = Field(min_length=1, max_length=10_000)


class Checkout(BaseModel):
    """What the user wants to pay for."""

    priceId: str = Field(pattern=r"^price_\w+$")


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1)


def bearer(authorization: Annotated[str, Header()] = "") -> str:
    """The bearer token of the request."""
    scheme, _, token = authorization.partition(" ")
    return token if scheme.lower() == "bearer" else ""


async def signed_in(token: Annotated[str, Depends(bearer)]) -> str:
    """The address of who asks."""
    if token not in sessions:
        raise HTTPException(401, "sign in first", headers={"WWW-Authenticate": "Bearer"})
    return sessions[token]


Email = Annotated[str, Depends(signed_in)]


async def own_chat(chat_id: str, email: Email) -> dict[str, Any]:
    """The chat in the path; somebody else's does not exist."""
    chat = chats.get(chat_id)
    if chat is None or chat["owner"] != email:
        raise HTTPException(404, "no such chat")
    return chat


Chat = Annotated[dict[str, Any], Depends(own_chat)]


@app.get("/health")
async def health() -> dict[str, Any]:
    """Alive, and each area with it."""
    now = datetime.now(UTC).isoformat()
    return {
        "status": "healthy",
        "timestamp": now,
        "version": VERSION,
        "areas": dict.fromkeys(AREAS, "healthy"),
    }


@app.get("/ready")
async def ready(response: Response) -> dict[str, str]:
    """May have traffic."""
    response.status_code = 503 if server.should_exit else 200
    return {"status": "shutting down" if server.should_exit else "ready"}


@app.get("/version")
async def version() -> dict[str, str]:
    """Which release answers."""
    return {"version": VERSION, "revision": REVISION}


@app.get("/api/{area}/health")
async def area_health(area: str) -> dict[str, str]:
    """One area's health."""
    if area not in AREAS:
        raise HTTPException(404, f"areas are {', '.join(AREAS)}")
    return {"status": "healthy", "area": area}


@app.post("/api/auth/signup", status_code=201)
def sign_up(body: SignUp) -> dict[str, Any]:
    """Open an account."""
    salt = secrets.token_bytes(16)
    account = {
        "email": body.email,
        "username": body.username,
        "salt": salt,
        "digest": _digest(body.password, salt),
    }
    if accounts.setdefault(body.email, account) is not account:
        raise HTTPException(409, "there is an account with this address")
    return {"user": {"email": body.email, "username": body.username}}


@app.post("/api/auth/signin")
def sign_in(body: SignIn) -> dict[str, Any]:
    """Trade a password for a token."""
    account = accounts.get(body.email, {"salt": b"nobody", "digest": b""})
    if not hmac.compare_digest(_digest(body.password, account["salt"]), account["digest"]):
        raise HTTPException(401, "address or password is wrong")
    token = secrets.token_urlsafe(32)
    sessions[token] = body.email
    return {"token": token, "user": {"email": body.email, "username": account["username"]}}


@app.delete("/api/auth/me", status_code=204)
async def leave(email: Email) -> Response:
    """Close the account, with all that is in it."""
    del accounts[email]
    for token in [token for token, owner in sessions.items() if owner == email]:
        del sessions[token]
    for chat in [chat for chat in chats.values() if chat["owner"] == email]:
        del chats[chat["id"]]
    return Response(status_code=204)


@app.get("/api/chats")
async def list_chats(email: Email) -> list[dict[str, Any]]:
    """The user's conversations."""
    return [{"id": chat["id"], "title": chat["title"]} for chat in chats.values() if chat["owner"] == email]


@app.post("/api/chats", status_code=201)
async def create_chat(body: NewChat, email: Email) -> dict[str, Any]:
    """Begin a conversation."""
    chat = {"id": secrets.token_hex(8), "title": body.title, "owner": email, "messages": []}
    chats[chat["id"]] = chat
    return {"id": chat["id"], "title": body.title}


@app.delete("/api/chats/{chat_id}", status_code=204)
async def delete_chat(chat: Chat) -> Response:
    """End a conversation."""
    del chats[chat["id"]]
    return Response(status_code=204)


@app.get("/api/chats/{chat_id}/messages")
async def list_messages(chat: Chat) -> list[dict[str, str]]:
    """What was said."""
    messages: list[dict[str, str]] = chat["messages"]
    return messages


@app.post("/api/chats/{chat_id}/messages")
async def send_message(body: NewMessage, chat: Chat) -> dict[str, Any]:
    """Say something; the assistant answers. Short questions go to the cheap provider."""
    provider = "small" if len(body.content) < 200 else "large"
    await asyncio.sleep(0.05)  # what a model takes, and then some
    reply = {"role": "assistant", "content": f"You said: {body.content}"}
    chat["messages"] += [{"role": "user", "content": body.content}, reply]
    costs[provider] += 1
    return {"message": reply, "provider": provider, "count": len(chat["messages"])}


@app.post("/api/billing/create-checkout-session")
async def checkout(body: Checkout, email: Email) -> dict[str, str]:
    """Where to pay."""
    session = f"cs_{secrets.token_hex(8)}"
    return {"id": session, "url": f"{CHECKOUT_URL}/pay/{session}?price={body.priceId}"}


@app.get("/api/analytics/costs/daily")
async def daily_costs(token: Annotated[str, Depends(bearer)]) -> dict[str, Any]:
    """What the assistants cost today, for administrators."""
    if not hmac.compare_digest(token.encode(), ADMIN_TOKEN.encode()):
        raise HTTPException(403, "for administrators")
    cents = costs["small"] * 1 + costs["large"] * 5
    return {"date": datetime.now(UTC).date().isoformat(), "cents": cents, "providers": dict(costs)}


class Named:
    """Name the version in each response; while leaving, close the connections that are kept."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-app-version", VERSION.encode()))
                if server.should_exit:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        await self.app(scope, receive, send_named)


class Server(uvicorn.Server):
    """After SIGTERM, a second in which clients close the connections they keep; then the listener goes."""

    async def main_loop(self) -> None:
        await super().main_loop()
        await asyncio.sleep(1)


server = Server(
    uvicorn.Config(
        Named(app),
        host="0.0.0.0",  # noqa: S104  # the container's own network
        port=8000,
        timeout_keep_alive=75,  # longer than the proxy's
        timeout_graceful_shutdown=20,
        access_log=False,
    )
)

if __name__ == "__main__":
    server.run()
