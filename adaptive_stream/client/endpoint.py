"""Where alerts go: an address and headers, and what of them no log may hold.

Owns the check of both and the masking: of an address only scheme, host and port are shown. Never connects. Called by
the forwarder and by what delivers; needs httpx, of the extra `worker`.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ANSWER_CHARS = 200  # shown of what a receiver says
MAX_PORT = 65_535
SECRET_CHARS = 8  # of a path or a query that may be a secret; shorter ones are words
OURS = frozenset({"content-type", "content-length", "transfer-encoding", "connection", "idempotency-key"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2


class Shape(StrEnum):
    """How an alert stands in a request's body."""

    WEBHOOK = "webhook"
    ALERTMANAGER = "alertmanager"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where alerts go.

    Args:
        name: scheme, host and port: all that is ever shown, for the path of a webhook is often its secret.
        url: without user information.
        headers: sent with each request.
        secrets: what no log may hold, though a receiver may echo it.
    """

    name: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    secrets: frozenset[str] = field(repr=False)

    @classmethod
    def parse(cls, url: str, headers: Sequence[str] = (), *, shape: Shape = Shape.WEBHOOK) -> Self:
        """Return the endpoint that an address and headers of the form ``Name: value`` mean.

        User information of the address becomes an Authorization header. For Alertmanager an address without a path is
        completed.

        Raises:
            ValueError: one of them is not valid; the message holds no part of a value.
        """
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, UnicodeError):
            parsed = httpx.URL("")
        if parsed.scheme not in {"http", "https"} or not parsed.host or (parsed.port or 1) > MAX_PORT:
            raise ValueError("the address is no URL of http or https; give it as https://host/path")
        named = dict(_header(text) for text in headers)
        if parsed.userinfo:
            if "authorization" in named:
                raise ValueError("the address has a user and there is a header Authorization; give one of them")
            user = f"{parsed.username}:{parsed.password}".encode()
            named["authorization"] = f"Basic {base64.b64encode(user).decode()}"
        if shape is Shape.ALERTMANAGER and parsed.path in {"", "/"}:
            parsed = parsed.copy_with(path="/api/v2/alerts")
        bare = parsed.copy_with(userinfo=b"", fragment=None)
        places = {text for text in (bare.path.strip("/"), bare.query.decode()) if len(text) >= SECRET_CHARS}
        values = {part for value in named.values() for part in (value, *value.split())}
        return cls(
            name=str(bare.copy_with(raw_path=b"/")).rstrip("/"),
            url=str(bare),
            headers=named,
            secrets=frozenset({*values, *places, parsed.password} - {""}),
        )

    def told(self, text: str) -> str:
        """Return a receiver's words as they may be shown: short, printable, and without what we sent in confidence."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        printable = "".join(char if char.isprintable() else " " for char in text)
        return " ".join(printable.split())[:ANSWER_CHARS]


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    name, value = name.strip().lower(), value.strip()
    if not colon or not _TOKEN.fullmatch(name):
        raise ValueError("a header is given as 'Name: value'")
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"the header {name} has a value with characters that no header may have")
    if name in OURS:
        raise ValueError(f"the header {name} is set by the forwarder; leave it out")
    return name, value
