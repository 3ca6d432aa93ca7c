"""The pictures that are not over time: the calibration curve and the confusion matrix.

Owns their geometry. Never knows where on the page they stand. Called by the section of a series.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adaptive_stream.cli.page.axis import Scale, value_ticks
from adaptive_stream.cli.page.markup import Markup, clipped, element, place, share, text
from adaptive_stream.contracts.events import CalibrationBin

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDE, LEFT, TOP = 250, 54, 12
HISTOGRAM = 46  # height of the bars of the bins' sizes below the curve
MAX_BINS = 24  # of a curve; more are taken together by neighbours
MAX_CLASSES = 10  # of a matrix that is drawn; the others are one
MATRIX_LEFT, MATRIX_TOP = 96, 46


def calibration_chart(bins: Sequence[CalibrationBin], *, name: str) -> Markup | None:
    """Return the reliability diagram: what came true against what was predicted, and below how often it was."""
    known = [b for b in bins if b.n and math.isfinite(b.predicted) and math.isfinite(b.observed)]
    if not known:
        return None
    known = _coarser(sorted(known, key=lambda b: b.predicted))
    x, y = Scale(0, 1, LEFT, LEFT + SIDE), Scale(0, 1, TOP + SIDE, TOP)
    foot = TOP + SIDE + 16 + HISTOGRAM
    most = max(b.n for b in known)
    bars = Scale(0, most, foot, foot - HISTOGRAM)
    ink = []
    for tick in value_ticks(0, 1, about=4):
        ink += [
            element("path", d=f"M{LEFT},{place(y(tick.at))}h{SIDE}", class_="grid"),
            element("text", text(tick.label), x=LEFT - 7, y=y(tick.at) + 4, class_="end"),
            element("text", text(tick.label), x=x(tick.at), y=foot + 17, class_="middle"),
        ]
    ink.append(element("path", d=f"M{LEFT},{TOP + SIDE}L{LEFT + SIDE},{TOP}", class_="baseline"))
    corners = "L".join(f"{place(x(b.predicted))},{place(y(b.observed))}" for b in known)
    ink.append(element("path", d=f"M{corners}", class_="measured"))
    for b in known:
        at = x(b.predicted)
        ink.append(element("circle", cx=at, cy=y(b.observed), r=2 + 4 * math.sqrt(b.n / most), class_="mark"))
        ink.append(element("path", d=f"M{place(at)},{foot}V{place(bars(b.n))}", class_="stick"))
    size = max(known, key=lambda b: b.n)
    said = _beside(bars(size.n), x(size.predicted), f"{size.n:,}")
    return element(
        "svg",
        element("title", text("calibration"), id=f"{name}-t"),
        element(
            "desc",
            text("The share that came true for each predicted probability, with the bins' sizes."),
            id=f"{name}-d",
        ),
        *ink,
        said,
        element("path", d=f"M{LEFT},{foot}h{SIDE}", class_="frame"),
        element("text", text("perfect"), x=LEFT + SIDE + 6, y=TOP + 4),
        element(
            "text", text("share that came true (dots) · labels in the bin (bars)"), x=LEFT, y=foot + 50, class_="axis"
        ),
        element("text", text("predicted probability"), x=LEFT + SIDE, y=foot + 34, class_="end"),
        viewBox=f"0 0 {LEFT + SIDE + 56} {foot + 56}",
        role="img",
        aria_labelledby=f"{name}-t {name}-d",
    )


def _coarser(bins: list[CalibrationBin]) -> list[CalibrationBin]:
    """Return a bounded number of bins: neighbours together, each by the labels in it."""
    step = -(-len(bins) // MAX_BINS)
    if step == 1:
        return bins
    made = []
    for first in range(0, len(bins), step):
        some = bins[first : first + step]
        n = sum(b.n for b in some)
        mean = [sum(getattr(b, name) * (b.n / n) for b in some) for name in ("predicted", "observed")]
        made.append(CalibrationBin(n=n, predicted=mean[0], observed=mean[1]))
    return made


def _beside(at: float, x: float, words: str) -> Markup:
    is_right = x > LEFT + SIDE * 0.7
    return element("text", text(words), x=x - 7 if is_right else x + 7, y=at + 9, class_="end" if is_right else None)


def folded(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> tuple[list[str], list[list[int]]]:
    """Return a matrix of bounded size: of many classes those with most rows, and the others together.

    A matrix that does not fit its classes is cut to what both have.
    """
    size = min(len(classes), len(counts), *(len(row) for row in counts)) if counts else 0
    if size <= MAX_CLASSES:
        return list(classes[:size]), [list(row[:size]) for row in counts[:size]]
    largest = sorted(sorted(range(size), key=lambda c: -sum(counts[c][:size]))[: MAX_CLASSES - 1])
    slot = {c: place_ for place_, c in enumerate(largest)}
    made = [[0] * MAX_CLASSES for _ in range(MAX_CLASSES)]
    for row in range(size):
        for column in range(size):
            made[slot.get(row, MAX_CLASSES - 1)][slot.get(column, MAX_CLASSES - 1)] += counts[row][column]
    return [*(classes[c] for c in largest), f"{size - MAX_CLASSES + 1} others"], made


def confusion_chart(classes: Sequence[str], counts: Sequence[Sequence[int]], *, name: str) -> Markup | None:
    """Return the confusion matrix: a row for each true class, each cell with its count and its share of the row."""
    names, cells = folded(classes, counts)
    if not names or not any(map(sum, cells)):
        return None
    cell = 84 if len(names) <= 3 else max(38, 300 // len(names))
    width, height = MATRIX_LEFT + cell * len(names) + 12, MATRIX_TOP + cell * len(names) + 12
    chars = max(4, cell // 7)
    ink = [
        element("text", text("predicted"), x=MATRIX_LEFT, y=16, class_="strong"),
        element("text", text("true"), x=MATRIX_LEFT - 9, y=MATRIX_TOP - 12, class_="end strong"),
    ]
    for row, words in enumerate(names):
        middle = MATRIX_TOP + cell * (row + 0.5)
        column = MATRIX_LEFT + cell * (row + 0.5)
        ink.append(element("text", text(clipped(words, 13)), x=MATRIX_LEFT - 9, y=middle + 4, class_="end"))
        ink.append(element("text", text(clipped(words, chars)), x=column, y=MATRIX_TOP - 12, class_="middle"))
        ink += _row(cells[row], row, cell)
    return element(
        "svg",
        element("title", text("confusion matrix"), id=f"{name}-t"),
        element(
            "desc",
            text("Counts, and shares of each true class, by predicted class. The table below has them."),
            id=f"{name}-d",
        ),
        *ink,
        viewBox=f"0 0 {width} {height}",
        style=f"max-width:{round(width * 1.0)}px",
        role="img",
        aria_labelledby=f"{name}-t {name}-d",
    )


def _row(counts: Sequence[int], row: int, cell: int) -> list[Markup]:
    total = sum(counts) or 1
    top = MATRIX_TOP + cell * row
    made = []
    for column, count in enumerate(counts):
        left = MATRIX_LEFT + cell * column
        part = count / total
        shade = f"fill-opacity:{0.04 + 0.56 * part:.2f}"
        made.append(element("rect", x=left + 1, y=top + 1, width=cell - 2, height=cell - 2, class_="cell", style=shade))
        middle = {"x": left + cell / 2, "class_": "cell-name middle" if cell >= 60 else "cell-name middle small"}
        made.append(element("text", text(_compact(count)), y=top + cell / 2 - 1, **middle))
        made.append(element("text", text(share(part)), y=top + cell / 2 + (16 if cell >= 60 else 11), **middle))
    return made


def _compact(count: int) -> str:
    for unit, sign in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**4, "k")):
        if count >= unit:
            return f"{count / (1000 if sign == 'k' else unit):,.0f}{sign}" if count < 10**16 else "many"
    return f"{count:,}"
