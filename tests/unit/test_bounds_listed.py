"""What the operators' pages say exists: every container is listed, every name in them is one of the code."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from adaptive_stream.config import Config, Family
from adaptive_stream.contracts.errors import ErrorCode
from adaptive_stream.contracts.topics import INPUTS
from adaptive_stream.core.join import Outcome
from adaptive_stream.runtime.task import Stage
from adaptive_stream.runtime.telemetry import Telemetry
from adaptive_stream.testing import Driver
from tests.unit.runtime.records import config

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BOUNDS = ROOT / "docs" / "guide" / "bounds.md"
GUARANTEES = ROOT / "docs" / "guide" / "guarantees.md"
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
PAGES = [BOUNDS, GUARANTEES, *RUNBOOKS]
ROOMS = ("core", "monitor", "stats", "runtime", "client")  # contracts hold nothing but one record
MAKERS = {"dict", "list", "set", "deque", "defaultdict", "Counter", "Tally", "Rows", "Remembered", "array", "bytearray"}


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


# -- every container is in the table -----------------------------------------------------------------------------


def is_container(value: ast.expr) -> bool:
    match value:
        case ast.Dict() | ast.List() | ast.Set() | ast.DictComp() | ast.ListComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="field"), keywords=keywords):
            return any(
                keyword.arg == "default_factory" and isinstance(keyword.value, ast.Name) and keyword.value.id in MAKERS
                for keyword in keywords
            )
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name in MAKERS
        case _:
            return False


def assigned(owner: ast.ClassDef) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield what a class assigns to what: each target with its value."""
    for node in ast.walk(owner):
        match node:
            case ast.AnnAssign(target=target, value=value) if value is not None:
                yield target, value
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                yield from zip(targets, values, strict=True)
            case ast.Assign(targets=targets, value=value):
                yield from ((target, value) for target in targets)


def containers() -> set[str]:
    """Return every container that an object of the product holds, as Class.attribute."""
    found = set()
    for room in ROOMS:
        for file in (ROOT / "adaptive_stream" / room).glob("*.py"):
            classes = [node for node in ast.walk(ast.parse(text(file))) if isinstance(node, ast.ClassDef)]
            for owner in classes:
                own = {id(node.target) for node in owner.body if isinstance(node, ast.AnnAssign)}
                for target, value in assigned(owner):
                    match target:
                        case ast.Attribute(value=ast.Name(id="self"), attr=name) if is_container(value):
                            found.add(f"{owner.name}.{name}")
                        case ast.Name(id=name) if id(target) in own and is_container(value):
                            found.add(f"{owner.name}.{name}")
    metrics = {f"Telemetry.{name}" for name in vars(Telemetry())}
    return found - (metrics - {"Telemetry._beats", "Telemetry._levels"})


def test_every_container_of_the_product_is_listed_and_nothing_else() -> None:
    listed = set(re.findall(r"`(_?[A-Z]\w+\.\w+)`", text(BOUNDS)))
    found = containers()
    assert len(found) > 50
    assert found - listed == set()
    assert listed - found == set()


def test_every_counter_of_the_core_is_listed() -> None:
    dropped = Driver(config()).fleets.counters()["dropped"]
    # not drops of a container: what came twice, or came while nobody wanted it
    told_elsewhere = {"duplicate_predictions", "recorrected", "unscored_while_stopped"}
    assert {what for what in dropped if f"`{what}`" not in text(BOUNDS)} == told_elsewhere


# -- every name is one of the code -------------------------------------------------------------------------------


def settings(tree: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, described in tree.model_fields.items():
        yield prefix + name
        if isinstance(described.annotation, type) and issubclass(described.annotation, BaseModel):
            yield from settings(described.annotation, f"{prefix}{name}.")


SETTINGS = {*settings(Config), *settings(Family)}
SECTIONS = {name.split(".")[0] for name in SETTINGS if "." in name}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    named = {name for name in re.findall(r"`([a-z_]+\.[a-z_.]+)(?:[:=][^`]*)?`", text(page)) if "." in name}
    named = {name for name in named if name.split(".")[0] in SECTIONS}
    assert named - SETTINGS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_test_that_is_named_exists(page: Path) -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text(page)):
        functions = [
            node.name
            for node in ast.walk(ast.parse(text(ROOT / file)))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        assert name in functions, f"{page.name}: {file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_constant_that_is_named_exists(page: Path) -> None:
    for name, file in re.findall(r"`([A-Z][A-Z_]{3,})`[^|`]*`(\w+/\w+\.py)`", text(page)):
        module: Any = importlib.import_module(f"adaptive_stream.{file.removesuffix('.py').replace('/', '.')}")
        assert hasattr(module, name), f"{page.name}: {name} in {file}"


def samples() -> set[str]:
    telemetry = Telemetry()
    telemetry.take_levels(0, Driver(config()).fleets)
    made = set()
    for family in telemetry.registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        made |= {family.name + suffix for suffix in suffixes}
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_metric_and_label_that_is_named_exists(page: Path) -> None:
    assert set(re.findall(r"adaptive_stream_[a-z_]+", text(page))) - samples() - {"adaptive_stream_"} == set()
    allowed = {
        "code": {str(code) for code in ErrorCode},
        "stage": {stage.value for stage in Stage},
        "disposition": {"restore", "rejoin", "exit"},
        "outcome": {outcome.name.lower() for outcome in Outcome},
        "topic": {str(topic) for topic in INPUTS} | {"state"},
        "what": set(Driver(config()).fleets.counters()["dropped"]),
    }
    for label, given in re.findall(r'\{(\w+)="(\w+)"\}', text(page)):
        assert given in allowed[label], f"{page.name}: {label}={given}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_log_line_that_is_named_is_written(page: Path) -> None:
    sources = "".join(text(file) for file in (ROOT / "adaptive_stream" / "runtime").glob("*.py"))
    written = set(re.findall(r'_log\.\w+\(\s*"(\w+)"', sources))
    assert len(written) > 8
    assert set(re.findall(r"log line `(\w+)`", text(page))) - written == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", text(page)):
        assert (page.parent / link).exists(), link


# -- the pages are whole -----------------------------------------------------------------------------------------


def test_every_row_of_the_bounds_has_a_limit_and_names_a_test_or_says_what_happens() -> None:
    rows = [line for line in text(BOUNDS).splitlines() if line.startswith("| ") and "flood test" not in line]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert all(cells), row
        assert (len(cells) == 4 and "tests/" in cells[3]) or len(cells) == 3, row


def test_every_promise_names_the_test_that_keeps_it() -> None:
    promises = text(GUARANTEES).split("## Under which settings")[0].split("## What is promised")[1]
    rows = [line for line in promises.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 10
    for row in rows:
        assert "::test_" in row, row


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_says_how_to_see_it_why_it_happens_and_what_to_do(page: Path) -> None:
    if page.stem == "README":
        assert all(f"({other.name})" in text(page) for other in RUNBOOKS if other != page)
        return
    headings = re.findall(r"^## (.+)$", text(page), re.MULTILINE)
    assert headings[:3] == ["See it", "Why", "Do"], page.name
