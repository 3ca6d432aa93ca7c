"""What the demo tells while it runs."""

from __future__ import annotations

from msgspec.structs import replace

from adaptive_stream.demo.screen import Screen
from tests.unit.cli.story import alert


def test_an_alert_is_told_when_it_begins_grows_worse_and_ends_and_not_every_day() -> None:
    screen, told = Screen(has_ui=False), list[str]()
    screen.say = lambda words, **_: told.append(words)  # type: ignore[method-assign,assignment]
    worse, over = alert(1, hours=2), alert(1, hours=2, ends=5)
    mild = replace(worse, labels={**worse.labels, "severity": "medium"})
    for one in (mild, mild, worse, worse, over, mild):
        screen.tell(one)
    assert [line.split()[1:3] for line in told] == [
        ["firing", "medium"],
        ["firing", "high"],
        ["resolved", "high"],
        ["firing", "medium"],
    ]
