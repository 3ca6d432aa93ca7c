"""One alert to one HTTP endpoint: in which shape, how patiently, and what each answer means.

Owns the two formats, the meaning of every status and the pauses between attempts. Never touches Kafka, and says no word
of a receiver but as its endpoint tells it. Called by the forwarder; needs httpx, of the extra `worker`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Self, TypeAlias

import httpx
import structlog

from adaptive_stream.contracts.clock import format_time, parse_time
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.events import AlertStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from adaptive_stream.client.endpoint import Endpoint
    from adaptive_stream.contracts.events import Alert

FIRST_S, LAST_S = 1.0, 60.0  # between two attempts: the least, and the most that it grows to
DOUBLINGS = 16  # more change nothing, and 2.0 ** 1024 is no number
RETRY_AFTER_S = 300.0  # most that a receiver may ask for: a slip of it must not silence the alerts for a day
ANSWER_BYTES = 4_096  # read of an answer
FIRING_MS = 365 * 86_400_000  # without an end, Alertmanager resolves an alert after resolve_timeout, five minutes
NO_PROXY = "no_proxy"
PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", NO_PROXY})
AGAIN = frozenset({408, 425, 429})
SHUT = frozenset({401, 403, 404, 405, 407, 410})
MOVED = frozenset({301, 308})
_SECONDS = re.compile(r"[0-9]{1,9}")
_NAME = re.compile(r"[^a-zA-Z0-9_]")  # what Alertmanager has refused in names, of every version

Pause: TypeAlias = "Callable[[float], Awaitable[bool]]"
_log = structlog.get_logger(__name__)


class Verdict(Enum):
    """What a status means for the alert that was sent."""

    TAKEN = "taken"
    REFUSED = "refused"  # this alert, for good; the next one may be taken
    AGAIN = "again"  # the receiver is busy or ill
    SHUT = "shut"  # the door is closed to every alert: giving up on this one would lose all
    MOVED = "moved"  # for good, and only an operator knows the address to trust


class Fate(Enum):
    """What came of a delivery."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    UNDONE = "undone"  # somebody asked to stop before it was taken


class Redirected(Exception):  # noqa: N818 - it says what the receiver does
    """The receiver lives elsewhere for good."""


class ProxyUnusable(Exception):  # noqa: N818 - it says what is wrong
    """The environment names a proxy through which nothing can be sent."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A request's body.

    Args:
        body: JSON.
        key: the same for each repetition of this delivery and for no other: printable ASCII.
        about: fields for the log.
    """

    body: bytes
    key: str
    about: Mapping[str, str | int]


class Delivery:
    """Deliver parcels to an endpoint; an async context manager.

    Args:
        endpoint: where they go.
        timeout_s: of one request, until its status; as long again for the answer's words.
        pause: waits so many seconds; false when somebody asked to stop meanwhile.
        chance: evenly between 0 and 1, so that many senders do not come back at once.
        clock: seconds since the epoch, for a Retry-After that is a date.

    Raises:
        ProxyUnusable: a variable such as HTTPS_PROXY names none that could be used.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout_s: float = 10.0,
        pause: Pause | None = None,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._pause = pause or _sleep
        self._chance = chance
        self._clock = clock
        # the system's authorities, as towards Kafka; httpx would bring its own list
        context = ssl.create_default_context()
        try:
            self._client = httpx.AsyncClient(
                verify=context,
                timeout=None,  # noqa: S113 - one limit is set around the whole request
                follow_redirects=False,
                headers={"user-agent": "adaptive-stream", "accept-encoding": "identity"},
                event_hooks={"response": [_keep_location]},
            )
        except (httpx.InvalidURL, ValueError, ImportError) as error:  # no value is told: it may hold a password
            raise ProxyUnusable(
                f"{' and '.join(_proxies(context))}: no proxy that can be used; it must be http:// or https://, or with"
                " `pip install 'httpx[socks]'` socks5://; NO_PROXY names hosts that are reached without"
            ) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def deliver(self, parcel: Parcel) -> Fate:
        """Send until the receiver takes or refuses it.

        Raises:
            Redirected: the receiver lives elsewhere for good.
        """
        log = _log.bind(endpoint=self._endpoint.name, **parcel.about)
        attempt = 0
        while True:
            attempt += 1
            retry_after: str | None = None
            try:
                status, answer, location, retry_after = await self._send(parcel)
            except (httpx.HTTPError, TimeoutError) as error:
                advice, said = "it is tried again until it is taken", {"error": self._endpoint.told(_words(error))}
            else:
                said = {"status": str(status), "answer": self._endpoint.told(answer)}
                match judge(status):
                    case Verdict.TAKEN:
                        log.info("alert_delivered", attempts=attempt)
                        return Fate.DELIVERED
                    case Verdict.REFUSED:
                        log.error("alert_refused", advice="the receiver says that it will never take it", **said)
                        return Fate.REFUSED
                    case Verdict.MOVED:
                        raise Redirected(self._elsewhere(status, location))
                    case Verdict.SHUT:
                        advice = "no alert will be taken so: are the address and the credentials right?"
                        if location:
                            advice = self._elsewhere(status, location)
                    case Verdict.AGAIN:
                        advice = "it is tried again until it is taken"
            wait_s = self._wait_s(attempt, retry_after)
            log.warning("alert_not_delivered", attempt=attempt, wait_s=round(wait_s, 1), advice=advice, **said)
            if not await self._pause(wait_s):
                return Fate.UNDONE

    async def _send(self, parcel: Parcel) -> tuple[int, str, str | None, str | None]:
        """Return the status, the start of the answer, and the headers Location and Retry-After."""
        headers = {**self._endpoint.headers, "content-type": "application/json", "idempotency-key": parcel.key}
        request = self._client.build_request("POST", self._endpoint.url, content=parcel.body, headers=headers)
        async with asyncio.timeout(self._timeout_s):
            response = await self._client.send(request, stream=True)
        start = b""
        try:
            # the status is the answer; its words may be cut off or late, and many of them are not read
            with suppress(httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(self._timeout_s):
                    async for chunk in response.aiter_raw():
                        start += chunk[:ANSWER_BYTES]
                        if len(start) >= ANSWER_BYTES:
                            break
        finally:
            await response.aclose()
        location, retry_after = response.extensions["location"], response.headers.get("retry-after")
        return response.status_code, start.decode(errors="replace"), location, retry_after

    def _wait_s(self, attempt: int, retry_after: str | None) -> float:
        """Return the pause before the next attempt: grows by doubling, with chance in it; or what is asked for."""
        longest = min(LAST_S, FIRST_S * 2.0 ** min(attempt, DOUBLINGS))
        own = FIRST_S + (longest - FIRST_S) * self._chance()
        asked = None if retry_after is None else asked_s(retry_after, now_s=self._clock())
        return own if asked is None else min(max(asked, FIRST_S), RETRY_AFTER_S)

    def _elsewhere(self, status: int, location: str | None) -> str:
        try:
            target = httpx.URL(self._endpoint.url).join(location or "")
            where = self._endpoint.told(str(target.copy_with(userinfo=b"", query=None, fragment=None)))
        except (httpx.InvalidURL, ValueError):
            where = "an address that is none"
        return (
            f"{self._endpoint.name} answers {status} and points to {where}. Redirects are not followed, for alerts and"
            " credentials would go where nobody sent them: if you trust that address, give it to --to"
        )


async def _keep_location(response: httpx.Response) -> None:
    """Take the header Location out of httpx's hands.

    It builds the request that a redirect asks for though none is followed, and raises over an address that is none: the
    status would be lost with it.
    """
    response.extensions["location"] = response.headers.pop("location", None)


def _proxies(context: ssl.SSLContext) -> list[str]:
    """Return the variables that name a proxy that cannot be used; all about proxies where each one could be."""
    found = {name: value for name, value in os.environ.items() if name.lower() in PROXIES and value}
    broken = []
    for name, value in found.items():
        try:
            if name.lower() != NO_PROXY:
                httpx.AsyncHTTPTransport(verify=context, proxy=value if "://" in value else f"http://{value}")
        except (httpx.InvalidURL, ValueError, ImportError):
            broken.append(name)
    return sorted(broken or found)


def judge(status: int) -> Verdict:
    """Return what a status means for the alert that was sent."""
    if 200 <= status < 300:
        return Verdict.TAKEN
    if status in MOVED:
        return Verdict.MOVED
    if status in SHUT or 300 <= status < 400:
        return Verdict.SHUT
    if 400 <= status < 500 and status not in AGAIN:
        return Verdict.REFUSED
    return Verdict.AGAIN


def asked_s(retry_after: str, *, now_s: float) -> float | None:
    """Return the seconds that a Retry-After asks for, as a number or until a date; None where it is neither.

    >>> asked_s("120", now_s=0), asked_s("Thu, 01 Jan 1970 00:01:00 GMT", now_s=0), asked_s("soon", now_s=0)
    (120.0, 60.0, None)
    """
    text = retry_after.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        return parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, OverflowError):
        return None


# -- the formats -------------------------------------------------------------------------------------------------------


def webhook_body(alert: Alert) -> bytes:
    """Return the alert in the words of the contract: one JSON object."""
    return Codec().encode(alert)


def alertmanager_body(alert: Alert, *, former_severity: str | None = None, now_ms: int) -> bytes:
    """Return the alert as Alertmanager's API v2 takes it: a list.

    Alertmanager knows an alert by its labels, and the severity is one of them. So an alert whose severity changed is
    another one there, and the former must be ended in the same request.

    Args:
        alert: what changed.
        former_severity: the one with which it was announced before, where it was another.
        now_ms: the time of this request.
    """
    starts_ms = parse_time(alert.starts_at)
    is_over = alert.status is AlertStatus.RESOLVED
    # what has ended did so in the past, though the events' own time may be ahead of the clock
    ends_ms = parse_time(alert.ends_at) if alert.ends_at and is_over else max(now_ms, starts_ms)
    annotations = {
        **alert.annotations,
        "alert_id": alert.alert_id,
        "value": json.dumps(alert.value),
        "threshold": json.dumps(alert.threshold),
        **{f"evidence_{name}": _text(value) for name, value in alert.evidence.items()},
    }
    labels = {_NAME.sub("_", name): value for name, value in alert.labels.items()}
    one = {
        "labels": labels,
        "annotations": {_NAME.sub("_", name): value for name, value in annotations.items()},
        "startsAt": format_time(starts_ms),
        "endsAt": format_time(ends_ms if is_over else ends_ms + FIRING_MS),
    }
    whole = [one]
    if former_severity is not None:
        whole.append({**one, "labels": {**labels, "severity": former_severity}, "endsAt": format_time(ends_ms)})
    return json.dumps(whole, ensure_ascii=False).encode()


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _words(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"


async def _sleep(wait_s: float) -> bool:
    await asyncio.sleep(wait_s)
    return True
