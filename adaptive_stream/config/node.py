"""What every part of the configuration is made of.

Owns the rules of a node: frozen, closed, finite. Never holds a setting.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T", bound=BaseModel)
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._-]+$")]


class Tree(BaseModel):
    """A part of the configuration: frozen, and an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def unless(mistakes: list[str], tree: T) -> T:
    """Return the tree, or raise with everything that is wrong with it."""
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return tree
