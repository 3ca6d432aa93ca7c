"""``dlq ls|show|replay``: what was refused, why, and back with it once the cause is mended.

Owns the words in which letters are shown and what is asked before anything is sent. Never decides whether a letter was
sent before: the marks on the topic do.
"""

from __future__ import annotations

import base64
import heapq
import json
import logging
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptive_stream.cli.page.markup import printable
from adaptive_stream.cli.run import AsJson, Files, Settings, answered, reachable
from adaptive_stream.cli.terminal import console, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from adaptive_stream.client.letters import Headers, Letter, LetterBox, Return, Selection
    from adaptive_stream.config import Config
    from adaptive_stream.runtime.replay import Replay

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
COLUMNS = ("time", "letter", "code", "model", "source", "path", "replayed", "message")
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhdw])")

Codes = Annotated[list[str] | None, typer.Option("--code", help="Only letters with this error code; repeatable.")]
Model = Annotated[str | None, typer.Option(help="Only letters whose record has this key.")]
Since = Annotated[str | None, typer.Option(help="Refused at or after: 2h (ago), or 2013-06-01T00:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Refused before: as --since.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    verbs = typer.Typer(help="The dead letters: records that were refused.", no_args_is_help=True)
    verbs.command("ls")(ls)
    verbs.command("show")(show)
    verbs.command("replay")(replay)
    app.add_typer(verbs, name="dlq")


def ls(
    code: Codes = None,
    model: Model = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The newest so many; 0: all.", min=0)] = 100,
    config: Files = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first."""
    selection = _selection(code, model, since, until)
    tree = reachable(config, settings)
    newest: list[tuple[int, Any, dict[str, Any]]] = []
    replayed: set[Any] = set()
    strange = 0

    async def read() -> None:
        nonlocal strange
        from adaptive_stream.client.letters import Letter

        async with _letter_box(tree) as box:
            async for found in _opened(box, await box.stable_ends()):
                if found is None:
                    strange += 1
                elif not isinstance(found, Letter):
                    replayed.add(found.letter)
                elif selection.takes(found):
                    entry = (found.time_ms, found.place, _row(found))
                    if limit and len(newest) == limit:
                        heapq.heappushpop(newest, entry)
                    else:
                        heapq.heappush(newest, entry)

    answered(tree, read())
    if strange:
        typer.echo(f"{strange} records on the topic are no dead letters; somebody else wrote them", err=True)
    rows = [{**row, "is_replayed": place in replayed} for _, place, row in sorted(newest, key=lambda entry: entry[:2])]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    elif rows:
        console().print(table(COLUMNS, map(_cells, rows), wrapped="message"))


def show(
    place: Annotated[str, typer.Argument(help="As `dlq ls` prints it, such as 0@17.", metavar="PARTITION@OFFSET")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the record's body, byte for byte.")] = False,
    config: Files = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Print one dead letter whole."""
    from adaptive_stream.client.letters import Letter, Mark, Place, read_record

    try:
        wanted = Place.parse(place)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    tree = reachable(config, settings)
    found: Letter | Mark | None = None
    is_replayed = is_there = False

    async def read() -> None:
        nonlocal found, is_replayed, is_there
        async with _letter_box(tree) as box:
            record = await box.at(wanted)
            is_there = record is not None
            found = None if record is None else read_record(record)
            if isinstance(found, Letter) and not raw:
                ends = await box.stable_ends()
                async for other in _opened(box, {p: end if p == wanted.partition else 0 for p, end in ends.items()}):
                    is_replayed |= isinstance(other, Mark) and other.letter == wanted

    answered(tree, read())
    match found:
        case Letter() if raw:
            sys.stdout.buffer.write(found.value or b"")
            sys.stdout.buffer.flush()
        case Letter():
            _show(found, is_replayed=is_replayed, as_json=as_json)
        case Mark():
            typer.echo(f"{wanted} is no letter: it is the mark that {found.letter} was sent again", err=True)
            raise typer.Exit(1)
        case _:
            what = "somebody else wrote that record" if is_there else "`adaptive-stream dlq ls` lists what is there"
            typer.echo(f"there is no dead letter {wanted}; {what}", err=True)
            raise typer.Exit(1)


def replay(
    code: Codes = None,
    model: Model = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The oldest so many; 0: all.", min=0)] = 10_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: Files = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Send refused records again, to the topic they came from, each once however often this runs.

    Mend the cause first: what is refused again comes back as another letter, with the number of its replays.
    """
    from adaptive_stream.runtime.failure import Fenced, TaskFailure
    from adaptive_stream.runtime.replay import Replay

    # a fenced client leaves futures that nobody can await, and asyncio would print each with its trace
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    selection = _selection(code, model, since, until)
    tree = reachable(config, settings)
    plan = _Plan()
    sender = None if dry_run else Replay(tree)
    must_ask = not yes and sys.stdin.isatty()
    try:
        answered(
            tree,
            _replay(tree, selection, plan, sender, limit=limit, must_ask=must_ask, as_json=as_json),
            more=lambda: "" if sender is None else f"; {_count(sender)} were sent for certain",
        )
    except Fenced as fenced:
        typer.echo(f"another replay has taken over; this one sent {_count(sender)} before", err=True)
        raise typer.Exit(1) from fenced
    except TaskFailure as failure:
        typer.echo(f"Kafka at {tree.kafka.bootstrap}: {failure}; {_count(sender)} were sent for certain.", err=True)
        typer.echo("Run it again: what was sent is marked and is not sent twice.", err=True)
        raise typer.Exit(69) from failure
    counts = {
        "would_replay" if sender is None else "replayed": len(plan.chosen) if sender is None else sender.sent,
        "replayed_before": plan.replayed_before,
        "beyond_limit": plan.beyond,
        "impossible": plan.impossible,
    }
    if as_json:
        typer.echo(json.dumps(counts))
    else:
        said = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items()]
        typer.echo(", ".join(said), err=True)
    if plan.impossible:
        raise typer.Exit(1)


# -- reading -----------------------------------------------------------------------------------------------------------


def _selection(codes: list[str] | None, model: str | None, since: str | None, until: str | None) -> Selection:
    from adaptive_stream.client.letters import Selection
    from adaptive_stream.contracts.errors import ErrorCode

    known = [str(code) for code in ErrorCode]
    for code in codes or ():
        if code not in known:
            from difflib import get_close_matches

            meant = get_close_matches(code, known, n=1)
            advice = f"did you mean {meant[0]!r}?" if meant else f"it is one of {', '.join(known)}"
            typer.echo(f"there is no error code {code!r}; {advice}", err=True)
            raise typer.Exit(2)
    now_ms = time.time_ns() // 1_000_000
    try:
        return Selection(
            codes=frozenset(codes or ()),
            model=model,
            since_ms=None if since is None else instant(since, now_ms=now_ms),
            until_ms=None if until is None else instant(until, now_ms=now_ms),
        )
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


def instant(text: str, *, now_ms: int) -> int:
    """Return the milliseconds since the epoch of an RFC 3339 time, or of a time ago such as 90s, 2h, 1.5d.

    Raises:
        ValueError: it is neither.

    >>> instant("2h", now_ms=7_200_000)
    0
    """
    from adaptive_stream.contracts.clock import parse_time

    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now_ms - round(float(ago[1]) * SECONDS[ago[2]] * 1000)
    try:
        return parse_time(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither a time ago, such as 2h (s, m, h, d, w), nor {error!s:.200}") from error


def _letter_box(tree: Config) -> Any:  # noqa: ANN401 - an async context manager of a LetterBox
    from adaptive_stream.cli.run import patiently
    from adaptive_stream.client.letters import LetterBox
    from adaptive_stream.contracts.topics import Topic
    from adaptive_stream.runtime.connection import connection

    return patiently(LetterBox(tree.topics.name(Topic.DEAD_LETTERS), **connection(tree)))


async def _opened(box: LetterBox, ends: Mapping[int, int]) -> AsyncIterator[Any]:
    """Yield the letters and the marks, and None for what somebody else wrote there."""
    from adaptive_stream.client.letters import read_record

    async for record in box.read(ends):
        yield read_record(record)


# -- replaying ---------------------------------------------------------------------------------------------------------


class _Plan:
    """What a replay is about to do, found before anything is sent."""

    def __init__(self) -> None:
        self.chosen: set[Any] = set()
        self.replayed_before = 0
        self.beyond = 0
        self.impossible = 0


async def _replay(
    tree: Config,
    selection: Selection,
    plan: _Plan,
    sender: Replay | None,
    *,
    limit: int,
    must_ask: bool,
    as_json: bool,
) -> None:
    from adaptive_stream.client.letters import Letter, input_partitions, way_back
    from adaptive_stream.runtime.connection import connection

    try:
        async with _letter_box(tree) as box:
            partitions = await input_partitions(tree.topics.prefix, connection(tree))
            if sender is None:
                ends = await box.stable_ends()
            else:
                # in this order: after the fence nobody adds a mark, and up to the true end none is missed
                await sender.take_over()
                ends = await box.true_ends()
            await _choose(box, ends, selection, plan, partitions, limit=limit)
            if sender is not None and plan.chosen and must_ask:
                typer.confirm(f"send {len(plan.chosen)} records again?", abort=True, err=True)
            async for found in _opened(box, ends):
                if not isinstance(found, Letter) or found.place not in plan.chosen:
                    continue
                back = way_back(found, partitions)
                assert back is not None, "what has no way back is not chosen"
                if sender is None:
                    typer.echo(_intention(found, back, as_json=as_json))
                else:
                    await sender.add(found, back)
            if sender is not None:
                await sender.flush()
    finally:
        if sender is not None:
            await sender.close()


async def _choose(
    box: LetterBox,
    ends: Mapping[int, int],
    selection: Selection,
    plan: _Plan,
    partitions: Mapping[str, int],
    *,
    limit: int,
) -> None:
    """Choose the oldest letters that were not replayed; the marks stand behind their letters, so all is read twice."""
    from adaptive_stream.client.letters import Letter, Mark

    replayed = {found.letter async for found in _opened(box, ends) if isinstance(found, Mark)}
    oldest: list[tuple[int, int, int, Any]] = []  # a heap whose first is the youngest of the oldest
    async for found in _opened(box, ends):
        if not isinstance(found, Letter) or not selection.takes(found):
            continue
        place = found.place
        if place in replayed:
            plan.replayed_before += 1
        elif found.source_topic not in partitions:
            plan.impossible += 1
            typer.echo(f"{place}: {found.source_topic!r} is no input of this prefix; it is left alone", err=True)
        else:
            heapq.heappush(oldest, (-found.time_ms, -place.partition, -place.offset, place))
            if limit and len(oldest) > limit:
                heapq.heappop(oldest)
                plan.beyond += 1
    plan.chosen |= {place for *_, place in oldest}


def _count(sender: Replay | None) -> int:
    return 0 if sender is None else sender.sent


def _intention(letter: Letter, back: Return, *, as_json: bool) -> str:
    if as_json:
        way = {"topic": back.topic, "partition": back.partition, "replays": letter.replays + 1}
        return json.dumps({**_row(letter), "would_send": way})
    target = f"{back.topic}/{back.partition}, at {_time(back.time_ms)}"
    before = f", for the {letter.replays + 1}. time" if letter.replays else ""
    return printable(f"{letter.place}  {letter.code}  {_name(letter.key)}  -> {target}{before}")


# -- showing -----------------------------------------------------------------------------------------------------------


def _row(letter: Letter) -> dict[str, Any]:
    """Return what `ls` says of a letter."""
    return {
        "letter": str(letter.place),
        "time": _time(letter.time_ms),
        "code": letter.code,
        "model": _name(letter.key),
        "source": {
            "topic": letter.source_topic,
            "partition": letter.source_partition,
            "offset": letter.source_offset,
            "time": _time(letter.source_time_ms),
        },
        "path": letter.path,
        "replays": letter.replays,
        "message": letter.message,
    }


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    source = "{topic}/{partition}@{offset}".format_map(row["source"])
    replays = row["replays"] + row["is_replayed"]
    said = f"{replays} x" + ("" if row["is_replayed"] else ", refused again") if replays else "-"
    return (
        row["time"],
        row["letter"],
        row["code"],
        row["model"] or "-",
        source,
        row["path"],
        said,
        row["message"],
    )


def _show(letter: Letter, *, is_replayed: bool, as_json: bool) -> None:
    if as_json:
        whole = {
            **_row(letter),
            "is_replayed": is_replayed,
            "key": _exact(letter.key),
            "headers": [{"name": name, "value": _exact(raw)} for name, raw in letter.headers],
            "body": _exact(letter.value),
        }
        typer.echo(json.dumps(whole))
        return
    source = f"{letter.source_topic}/{letter.source_partition}@{letter.source_offset}"
    lines = [
        ("letter", f"{letter.place}, refused at {_time(letter.time_ms)}"),
        ("code", letter.code),
        ("message", letter.message),
        ("path", letter.path),
        ("source", f"{source}, of {_time(letter.source_time_ms)}"),
        ("replayed", f"{'yes' if is_replayed else 'no'}; {letter.replays} times before it was refused"),
        ("key", _words(letter.key)),
        ("headers", "none" if not letter.headers else ""),
    ]
    for name, value in lines:
        typer.echo(printable(f"{name:9} {value}").rstrip())
    for line in _header_lines(letter.headers):
        typer.echo(f"  {line}")
    size = "none" if letter.value is None else f"{len(letter.value)} bytes"
    typer.echo(f"body      {size}{'' if not letter.value or _is_text(letter.value) else ', base64'}")
    if letter.value:
        typer.echo(letter.value.decode() if _is_text(letter.value) else base64.b64encode(letter.value).decode())


def _header_lines(headers: Headers) -> list[str]:
    return [f"{printable(name)}: {_words(raw)}" for name, raw in headers]


def _exact(raw: bytes | None) -> dict[str, str] | None:
    """Return bytes as JSON can carry them, so that they can be had back: as text where they are UTF-8."""
    if raw is None:
        return None
    try:
        return {"text": raw.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}


def _words(raw: bytes | None) -> str:
    """Return bytes for a person: quoted text, or hexadecimal."""
    if raw is None:
        return "none"
    return json.dumps(raw.decode(), ensure_ascii=False) if _is_text(raw) else f"hex {raw.hex()}"


def _name(key: bytes | None) -> str:
    return "" if key is None else key.decode(errors="backslashreplace")


def _is_text(raw: bytes) -> bool:
    """Tell whether a terminal may print it: what is refused is anybody's, escape sequences included."""
    try:
        return all(char.isprintable() or char in "\n\t" for char in raw.decode())
    except UnicodeDecodeError:
        return False


def _time(time_ms: int) -> str:
    from adaptive_stream.contracts.clock import format_time

    try:
        return format_time(time_ms)
    except OverflowError:
        return f"{time_ms} ms"
