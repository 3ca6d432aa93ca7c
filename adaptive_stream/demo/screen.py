"""What the demo shows while it runs: a live picture on a terminal, or plain lines.

Owns the layout. Never decides anything. Called by the demo's loop.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adaptive_stream.demo.summary import grouped, iso_week

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import Alert
    from adaptive_stream.demo.watch import Picture

BARS = "▁▂▃▄▅▆▇█"
LOWEST, HIGHEST = 0.6, 0.9  # of the sparkline's scale; the year's weeks lie between
RATE_S = 3.0  # over which events/s is measured
NEWS = 8  # lines kept on the screen; all of them are in the summary
LINE_S = 5.0  # without a terminal: a line in so many seconds


class Screen:
    """A live picture; a context manager.

    Args:
        has_ui: draw; otherwise print lines.
    """

    def __init__(self, *, has_ui: bool) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4) if has_ui else None
        self._news: deque[Text] = deque(maxlen=NEWS)
        self._rates: deque[tuple[float, int]] = deque(maxlen=64)
        self._printed_at = 0.0
        self._told: dict[str, str] = {}  # severity by id, of the alerts that fire

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, words: str, *, style: str = "") -> None:
        """Show one line of news."""
        line = Text(words, style=style)
        if self._live:
            self._news.append(line)
        else:
            self._console.print(line, soft_wrap=True)

    def tell(self, alert: Alert) -> None:
        """Show an alert that begins, grows worse or ends; not one that is told again, as they are every day."""
        is_firing = alert.status.value == "firing"
        if is_firing and self._told.get(alert.alert_id) == alert.labels["severity"]:
            return
        if is_firing:
            self._told[alert.alert_id] = alert.labels["severity"]
        else:
            self._told.pop(alert.alert_id, None)
        at = (alert.starts_at if is_firing else alert.ends_at or "")[:10]
        words = f"{at}  {alert.status.value:8}  {alert.labels['severity']:6}  {alert.annotations['summary']}"
        self.say(words, style="bold red" if is_firing else "bold green")

    def draw(self, picture: Picture, *, share: float) -> None:
        """Show what is seen."""
        self._rates.append((time.monotonic(), picture.stepped))
        while self._rates[-1][0] - self._rates[0][0] > RATE_S:
            self._rates.popleft()
        if self._live:
            self._live.update(self._picture(picture, share))
        elif time.monotonic() - self._printed_at > LINE_S and picture.status is not None:
            self._printed_at = time.monotonic()
            at = picture.status.at[:10]
            self.say(f"{at}  {self._rate():,.0f} events/s, {picture.lag:,} behind, {_outcomes(picture)}")

    def _rate(self) -> float:
        (t0, n0), (t1, n1) = self._rates[0], self._rates[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0

    def _picture(self, picture: Picture, share: float) -> Group:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column()
        at = picture.status.at[:10] if picture.status else "starting"
        days = {
            pane.starts_at: (pane.labelled, round((pane.value or 0) * pane.labelled)) for pane in picture.panes.values()
        }
        weeks = [accuracy for _, _, accuracy in grouped(days, iso_week)]
        table.add_row("year", ProgressBar(total=1.0, completed=share, width=40))
        table.add_row("", at)
        table.add_row("events/s", f"{self._rate():,.0f}")
        table.add_row("behind", f"{picture.lag:,}")
        table.add_row("feedback", _outcomes(picture))
        table.add_row("accuracy", f"{''.join(_bar(week) for week in weeks)}  {weeks[-1]:.3f}" if weeks else "")
        return Group(table, *self._news)


def _outcomes(picture: Picture) -> str:
    counts = [f"{name} {picture.outcomes.get(name, 0):,}" for name in ("joined", "late", "orphan", "early")]
    return ", ".join([*counts, f"waiting {picture.waiting:,}"])


def _bar(accuracy: float) -> str:
    place = (accuracy - LOWEST) / (HIGHEST - LOWEST) * (len(BARS) - 1)
    return BARS[min(len(BARS) - 1, max(0, round(place)))]
