"""What kind of value belongs at each place of the tree.

Owns the walk from a path to a type. Never holds a value. Called where settings are read, and where mistakes
are explained.
"""

from __future__ import annotations

from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union, get_args, get_origin

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
    """Say whether a place of the tree holds a text, a path or a secret perhaps."""
    return not {str, SecretStr, Path}.isdisjoint(_forms(kind_at(path)))


def is_secret(path: Path_) -> bool:
    """Say whether a place of the tree holds a secret."""
    return SecretStr in _forms(kind_at(path))


def is_optional(path: Path_) -> bool:
    """Say whether a place of the tree may hold None."""
    return NoneType in _forms(kind_at(path))


def _forms(kind: Any) -> set[Any]:  # noqa: ANN401 - a type, or a form of typing
    """Return the types that a value of a kind may have."""
    if get_origin(kind) is Annotated:
        return _forms(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return {form for choice in get_args(kind) for form in _forms(choice)}
    return {kind}


def nothing(path: Path_) -> dict[str, Any] | list[Any] | None:
    """Return what a place holds where nothing is written, as in a block of which every line is a comment."""
    kind = kind_at(path)
    if get_origin(kind) is list:
        return []
    return {} if get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)) else None


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as it is written."""
    return ".".join(str(part) for part in path)
