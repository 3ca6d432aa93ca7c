"""What kind of value belongs at each place of the tree.

Owns the walk from a path to a type. Never holds a value. Called where settings are read, and where mistakes
are explained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin

from pydantic import BaseModel, SecretStr

from adaptive_stream.config.tree import Config

if TYPE_CHECKING:
    from collections.abc import Sequence

Path_: TypeAlias = tuple[str | int, ...]


def fields_at(location: Sequence[str | int]) -> list[str]:
    """Return the names of the settings that are known at a place of the tree."""
    kind = kind_at(location)
    return sorted(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def kind_at(location: Sequence[str | int]) -> Any:  # noqa: ANN401 - a type, or a form of typing
    """Return the type of a place of the tree; None where there is no such place."""
    kind: Any = Config
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field is not None else None
        elif get_origin(kind) in (dict, list):
            kind = get_args(kind)[-1]
    return kind


def is_text(path: Path_) -> bool:
    """Say whether a place of the tree holds a text, a secret one perhaps."""
    kind = kind_at(path)
    return bool({str, SecretStr} & {kind, *get_args(kind)}) and get_origin(kind) not in (dict, list)


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as it is written."""
    return ".".join(str(part) for part in path)
