"""Token providers for the tests: unsecured tokens, as Kafka's own OAUTHBEARER module for development takes them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time

from aiokafka.abc import AbstractTokenProvider

SECRET_CLAIM = "a-claim-that-nobody-may-see"  # noqa: S105 - looked for in all output


def _part(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


class Unsecured(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    def __init__(self, subject: str, life_s: float = 3600.0) -> None:
        self._subject = subject
        self._life_s = life_s

    async def token(self) -> str:
        at = time.time()
        claims = {"sub": self._subject, "iat": at - 7200, "exp": at + self._life_s, "secret": SECRET_CLAIM}
        return f"{_part({'alg': 'none'})}.{_part(claims)}."


class Raising(AbstractTokenProvider):  # type: ignore[misc]
    async def token(self) -> str:
        raise RuntimeError(f"401 for client secret {SECRET_CLAIM}")


class Silent(AbstractTokenProvider):  # type: ignore[misc]
    async def token(self) -> str:
        await asyncio.Event().wait()
        raise AssertionError("it never comes")


class Numeric(AbstractTokenProvider):  # type: ignore[misc]
    async def token(self) -> int:
        return 7


def good() -> Unsecured:
    return Unsecured(os.environ.get("TOKEN_SUBJECT", "oauth-worker"))


def expired() -> Unsecured:
    return Unsecured("oauth-worker", life_s=-3600.0)


def raising() -> Raising:
    return Raising()


def silent() -> Silent:
    return Silent()


def numeric() -> Numeric:
    return Numeric()


def something_else() -> dict[str, str]:
    return {"token": SECRET_CLAIM}


def failing() -> Unsecured:
    raise KeyError(SECRET_CLAIM)


not_callable = SECRET_CLAIM
