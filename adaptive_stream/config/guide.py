"""The guide to the settings, made from the tree itself, so that it cannot say anything else.

Owns the layout of ``docs/guide/configuration.md``. Called by ``config guide``; a test compares.
"""

from __future__ import annotations

import json
import typing
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from adaptive_stream.config.tree import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

HEAD = """\
# Configuration

Made by `adaptive-stream config guide`. YAML files, then environment variables, then `--set`; later ones win. A setting
`batch.commit_interval_ms` is `ADAPTIVE_STREAM__BATCH__COMMIT_INTERVAL_MS` in the environment and
`--set batch.commit_interval_ms=100` on the command line. Units are in the names. An unknown setting is a mistake.

In the environment and behind `--set` a text is taken as it is written, a password always. Where there may be none, an
empty text is none. A text that is no secret may stand within quotes, and `null` is none. All else is read as YAML.

Names in the environment may be in capitals: `ADAPTIVE_STREAM__FAMILIES__CHURN__ALERTS__ACCURACYDEGRADED__HIGH` is
`families.Churn.alerts.AccuracyDegraded.high`, where a file has the family `Churn`; a default rule needs no file. A name
that no file has, or that two have but for their capitals, is in small letters.
"""
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}  # of annotated_types, which pydantic keeps as metadata


def guide() -> str:
    """Return the guide as Markdown."""
    return "\n".join([HEAD, *_section(Config, "")])


def _section(tree: type[BaseModel], path: str) -> Iterator[str]:
    plain = {name: field for name, field in tree.model_fields.items() if _inner(field) is None}
    if path:
        yield f"## `{path}`\n"
        yield f"{_summary(tree)}\n"
    if plain:
        yield "| setting | values | default | why |"
        yield "|---|---|---|---|"
        for name, field in plain.items():
            why = (field.description or "").replace("|", "\\|")
            yield f"| `{name}` | {_values(field)} | {_default(field)} | {why} |"
        yield ""
    for name, field in tree.model_fields.items():
        inner, below = _inner(field), f"{path}.{name}" if path else name
        if inner is not None:
            kind = get_origin(field.annotation)
            yield from _section(inner, f"{below}.NAME" if kind is dict else f"{below}[]" if kind is list else below)


def _summary(tree: type[BaseModel]) -> str:
    return (tree.__doc__ or "").strip().split("\n")[0]


def _inner(field: FieldInfo) -> type[BaseModel] | None:
    """Return the tree inside a field, a list or a mapping; None for a plain setting."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _values(field: FieldInfo) -> str:
    limits = ((sign, getattr(bound, name, None)) for name, sign in SIGNS.items() for bound in field.metadata)
    bounds = [f"{sign} {limit:,}" for sign, limit in limits if limit is not None]
    return " ".join([_kind(field.annotation), *([", ".join(bounds)] if bounds else [])])


def _kind(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is typing.Literal:
        return " / ".join(f"`{value}`" for value in args)
    if origin is typing.Annotated:
        return _kind(args[0])
    if origin is list:
        return f"list of {_kind(args[0])}"
    if args:
        return " or ".join(_kind(arg) for arg in args if arg is not type(None))
    name = str(annotation.__name__)
    return {"SecretStr": "secret", "str": "text", "int": "integer", "float": "number", "bool": "true / false"}.get(
        name, name.lower()
    )


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return "" if field.default is None else f"`{json.dumps(field.default)}`"
