"""What every part of the configuration is made of.

Owns the rules of a node: frozen, closed, finite. Never holds a setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Sequence

Setting: TypeAlias = str | tuple[str, ...]  # a name, or the names on the way to it
T = TypeVar("T", bound=BaseModel)
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._-]+$")]


class Tree(BaseModel):
    """A part of the configuration: frozen, and an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class ClashError(ValueError):
    """Settings of a part that do not go together: what is wrong, and which settings they are, seen from the part."""

    def __init__(self, *mistakes: tuple[str, Sequence[Setting]]) -> None:
        super().__init__("; ".join(message for message, _ in mistakes))
        self.mistakes = mistakes


def unless(mistakes: Sequence[tuple[str, Sequence[Setting]]], tree: T) -> T:
    """Return the tree, or raise with everything that is wrong with it."""
    if mistakes:
        raise ClashError(*mistakes)
    return tree
