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
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ANSWER_CHARS = 200  # shown of what a receiver says
MAX_PORT = 65_535
SECRET_CHARS = 8  # of a path or a query that may be a secret; shorter ones are words
OURS = frozenset({"content-type", "content-length", "transfer-encoding", "connection", "idempotency-key"})
FEW_CHARS = 4  # of a user, a password or a header; anywhere in a text, shorter ones would hide half of it
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
            basic = base64.b64encode(f"{parsed.username}:{parsed.password}".encode())
            named["authorization"] = f"Basic {basic.decode()}"
        if shape is Shape.ALERTMANAGER and parsed.path in {"", "/"}:
            parsed = parsed.copy_with(path="/api/v2/alerts")
        bare = parsed.copy_with(userinfo=b"", fragment=None)
        user = parsed.userinfo.decode()
        hidden = {user, *user.split(":", 1), parsed.username, parsed.password}
        hidden |= {part for value in named.values() for part in (value, *value.split())}
        for address in (url.partition("://")[2].partition("#")[0].partition("/")[2], bare.raw_path.decode()):
            hidden |= set(_guarded(address))
        return cls(
            name=str(bare.copy_with(raw_path=b"/")).rstrip("/"),
            url=str(bare),
            headers=named,
            secrets=frozenset(hidden - {""}),
        )

    def told(self, text: str) -> str:
        """Return a receiver's words as they may be shown: short, printable, and without what we sent in confidence."""
        text = _masked(text, self.secrets)
        printable = "".join(char if char.isprintable() else " " for char in text)
        return " ".join(printable.split())[:ANSWER_CHARS]


def _guarded(address: str) -> Iterator[str]:
    """Yield what of a path and a query may be a secret: a receiver may echo a part of it, and decode it before."""
    path, _, query = address.partition("?")
    pairs = (pair.partition("=") for pair in re.split("[&;]", query))
    parts = [path.strip("/"), *path.split("/"), query, *(value if equals else name for name, equals, value in pairs)]
    for part in parts:
        if len(part) >= SECRET_CHARS:
            yield part
            for plain in (unquote(part), unquote_plus(part)):  # as JSON has it in some languages, too
                yield from (plain, quote(plain, safe=""), quote_plus(plain), plain.replace("/", "\\/"))


def _masked(text: str, secrets: frozenset[str]) -> str:
    """Return a text with its secrets hidden, the longest first; a short one only where it stands alone, as a word."""
    if not secrets:
        return text
    longest_first = sorted(secrets, key=len, reverse=True)
    forms = [re.escape(one) if len(one) >= FEW_CHARS else rf"(?<!\w){re.escape(one)}(?!\w)" for one in longest_first]
    return re.sub("|".join(forms), "***", text, flags=re.IGNORECASE)  # of %2F and %2f either may come back


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
