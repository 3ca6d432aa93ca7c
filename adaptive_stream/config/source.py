"""The raw tree that files, environment and options make together, and where each of its values came from.

Owns the merging and the places: every mistake names the file and line, the variable or the option it came from. Never
says whether a value is legal; the tree does. Called by ``load``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from adaptive_stream.config.kind import Path_, dotted, is_text

if TYPE_CHECKING:
    from pathlib import Path

MAX_DEPTH = 16  # the tree has 6 levels; an alias may point at the mapping that holds it


class _Loader(yaml.SafeLoader):
    """YAML without timestamps: an instant stays the text that was written, as in every event."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: where it stands, which setting, what is wrong and what would be right."""

    source: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.path}: {self.message}" if self.path else f"{self.source}: {self.message}"


class Sources:
    """The merged raw tree, and where each value came from."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.places: dict[Path_, str] = {}
        self.mistakes: list[Mistake] = []

    def place(self, path: Path_) -> str:
        """Return the source of a value, or of the nearest part around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                found = self.places[path[:length]]
                inside = (place for known, place in self.places.items() if known[: len(path)] == path)
                return found if length == len(path) else next(inside, found)
        return next((place for known, place in self.places.items() if known[: len(path)] == path), "defaults")

    def add_file(self, path: Path) -> None:
        """Merge a YAML file."""
        try:
            node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            self.mistakes.append(Mistake(str(path), "", f"cannot be read: {reason}"))
            return
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
            self.mistakes.append(Mistake(place, "", f"not valid YAML: {error.problem}"))
            return
        except yaml.YAMLError as error:  # the reader's: a character that no YAML may hold
            self.mistakes.append(Mistake(str(path), "", f"not valid YAML: {str(error).splitlines()[0]}"))
            return
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            self.mistakes.append(Mistake(f"{path}:1:1", "", "the file must hold a mapping of settings"))
            return
        self.tree = _merge(self.tree, self._value(node, (), str(path)))

    def add_setting(self, path: Path_, text: str, source: str) -> None:
        """Merge one value from the environment or the command line; it is read as YAML."""
        try:
            value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        except (yaml.YAMLError, ValueError):
            value = text
        if value is not None and not isinstance(value, str) and is_text(path):
            value = text  # a password of digits is no number
        branch: Any = value
        for name in reversed(path):
            branch = {name: branch}
        self.tree = _merge(self.tree, branch)
        self.places[path] = source

    def _value(self, node: yaml.Node, path: Path_, file: str) -> Any:  # noqa: ANN401 - any YAML value
        self.places[path] = f"{file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
        if len(path) > MAX_DEPTH:
            self.mistakes.append(Mistake(self.places[path], dotted(path[:1]), "is nested without end"))
            return None
        if isinstance(node, yaml.MappingNode):
            made: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                here = f"{file}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
                if key in made:
                    self.mistakes.append(Mistake(here, dotted((*path, key)), "is given twice"))
                made[key] = self._value(value_node, (*path, key), file)
                self.places[(*path, key)] = here
            return made
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, place), file) for place, item in enumerate(node.value)]
        try:
            return yaml.load(yaml.serialize(node), Loader=_Loader)  # noqa: S506 - a SafeLoader
        except (yaml.YAMLError, ValueError):
            self.mistakes.append(Mistake(self.places[path], dotted(path), f"is no plain YAML value: tag {node.tag}"))
            return None


def _merge(under: Any, over: Any) -> Any:  # noqa: ANN401 - any YAML values
    if isinstance(under, dict) and isinstance(over, dict):
        return {**under, **{key: _merge(under.get(key), value) for key, value in over.items()}}
    return over
