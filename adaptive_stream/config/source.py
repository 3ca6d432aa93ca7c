"""The raw tree that files, environment and options make together, and where each of its values came from.

Owns the merging and the places: every mistake names the file and line, the variable or the option it came from. Never
says whether a value is legal; the tree does. Called by ``load``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from adaptive_stream.config.kind import Path_, dotted, is_optional, is_secret, is_text, nothing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HALF = "holds half a character: it is no text in UTF-8"
NULLS = frozenset({"null", "Null", "NULL", "~"})
QUOTES = frozenset("'\"")
YAML_TAG = "tag:yaml.org,2002:"
MAX_DEPTH = 16  # the tree has 6 levels; an alias may point at the mapping that holds it
Where: TypeAlias = "Callable[[yaml.Mark], str]"


class _Loader(yaml.SafeLoader):
    """YAML without timestamps: an instant stays the text that was written, as in every event."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{YAML_TAG}timestamp"]
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
        node = self._composed(path)
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            self.mistakes.append(Mistake(f"{path}:1:1", "", "the file must hold a mapping of settings"))
            return
        self.tree = _merge(self.tree, self._value(node, (), lambda mark: _at(path, mark)))

    def add_setting(self, path: Path_, text: str, source: str) -> None:
        """Merge one value from the environment or the command line: a text as it is written, all else as YAML."""
        branch: Any = self._read(path, text, source)
        for name in reversed(path):
            branch = {name: branch}
        self.tree = _merge(self.tree, branch)

    def _composed(self, path: Path) -> yaml.Node | None:
        """Return the nodes of a file; None where it holds nothing, or is none, which is noted."""
        source, why = str(path), ""
        try:
            text = path.read_text(encoding="utf-8")
            try:
                return yaml.compose(text, Loader=_Loader)
            except RecursionError:
                source, why = _deep(path, text), "is nested without end"
        except OSError as error:
            why = f"cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            why = "cannot be read: not UTF-8"
        except yaml.MarkedYAMLError as error:
            source, why = _at(path, error.problem_mark), f"not valid YAML: {error.problem}"
        except yaml.YAMLError as error:  # the reader's: a character that no YAML may hold
            why = f"not valid YAML: {str(error).splitlines()[0]}"
        except (ValueError, OverflowError):  # an escape for a character that does not exist
            why = "not valid YAML: it names a character that there is not"
        self.mistakes.append(Mistake(source, "", why))
        return None

    def _read(self, path: Path_, text: str, source: str) -> Any:  # noqa: ANN401 - any YAML value
        self.places[path] = source
        if not _is_whole(text):
            self.mistakes.append(Mistake(source, dotted(path), HALF))
            return None
        if is_text(path):
            return _text(path, text)
        try:
            node = yaml.compose(text, Loader=_Loader)
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
            return text
        return nothing(path) if node is None else self._value(node, path, lambda _: source)

    def _value(self, node: yaml.Node, path: Path_, where: Where) -> Any:  # noqa: ANN401 - any YAML value
        self.places[path] = where(node.start_mark)
        if len(path) > MAX_DEPTH:
            self.mistakes.append(Mistake(self.places[path], dotted(path[:1]), "is nested without end"))
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, where)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, place), where) for place, item in enumerate(node.value)]
        try:
            value = _Loader("").construct_document(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError):  # the last two from !!bool and !!timestamp
            tag = node.tag.replace(YAML_TAG, "!!")
            self.mistakes.append(Mistake(self.places[path], dotted(path), f"is no plain YAML value: tag {tag}"))
            return None
        if isinstance(value, str) and not _is_whole(value):
            self.mistakes.append(Mistake(self.places[path], dotted(path), HALF))
            return None
        return nothing(path) if value is None else value

    def _mapping(self, node: yaml.MappingNode, path: Path_, where: Where) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            here = where(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self.mistakes.append(Mistake(here, dotted(path), "a name must be a text, not a list or a mapping"))
                continue
            key = str(key_node.value)
            if not _is_whole(key):
                self.mistakes.append(Mistake(here, dotted(path), f"the name {key!r} {HALF}"))
                continue
            if key in made:
                self.mistakes.append(Mistake(here, dotted((*path, key)), "is given twice"))
            made[key] = self._value(value_node, (*path, key), where)
            self.places[(*path, key)] = here
        return made


def _text(path: Path_, text: str) -> str | None:
    """Return the text that a setting has: as it is written, for a password may look like YAML.

    Where there may be none, an empty text is none. And what is no secret may be written as null, or within quotes.
    """
    if is_optional(path) and (not text or (text in NULLS and not is_secret(path))):
        return None
    if is_secret(path) or text[:1] not in QUOTES or text[:1] != text[-1:]:
        return text
    try:
        quoted = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, OverflowError):
        return text
    return quoted if isinstance(quoted, str) else text


def _is_whole(text: str) -> bool:
    """Say whether a text has no lone surrogate: nothing may print one, nor name a file with it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _at(path: Path, mark: yaml.Mark | None) -> str:
    return str(path) if mark is None else f"{path}:{mark.line + 1}:{mark.column + 1}"


def _deep(path: Path, text: str) -> str:
    """Return the place at which a text is nested deeper than anything may be; the parser alone does not recurse."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            return f"{path}:{event.start_mark.line + 1}:{event.start_mark.column + 1}"
    return str(path)


def _merge(under: Any, over: Any) -> Any:  # noqa: ANN401 - any YAML values
    if isinstance(under, dict) and isinstance(over, dict):
        return {**under, **{key: _merge(under.get(key), value) for key, value in over.items()}}
    return over
