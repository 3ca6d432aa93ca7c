"""Tables on a terminal, or in a pipe.

Owns the width and what may be printed: an id is anybody's, so neither markup nor an escape sequence passes. Never reads
a topic. Called by the verbs that show more than a line.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

_NOT_ASCII = re.compile(r"[^\x20-\x7e]")  # between the ends of JSON's texts alone, and there each may be escaped
PIPE_COLUMNS = 2_000  # a pipe has no width; nothing is cut off


def console() -> Console:
    """Return standard output."""
    from rich.console import Console

    found = Console()
    if not found.is_terminal:
        found.width = PIPE_COLUMNS
    return found


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, indent: int = 0, wrapped: str | None = None) -> Any:  # noqa: ANN401 - rich's
    """Return a table of texts; only the column ``wrapped`` is broken into lines, or any where it is None."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from adaptive_stream.cli.page.markup import printable

    made = Table(box=None, pad_edge=False)
    for name in columns:
        made.add_column(name, no_wrap=wrapped not in {None, name}, overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return Padding(made, (1, 0, 0, indent), expand=False) if indent else made


def ascii_json(event: Any) -> str:  # noqa: ANN401 - whatever msgspec encodes
    """Return JSON on one line; what is not ASCII is escaped, for some of it steers a terminal."""
    import msgspec

    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], msgspec.json.encode(event).decode())
