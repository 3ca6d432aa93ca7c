"""The raw tree that files, environment and options make together, and where each of its values came from.

Owns the merging and the places: every mistake names the file and line, the variable or the option it came from. Never
says whether a value is legal; the tree does. Called by ``load``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import yaml

from adaptive_stream.config.kind import Path_, dotted, is_optional, is_secret, is_text, nothing
from adaptive_stream.config.node import Setting  # noqa: TC001 - part of the public signature
from adaptive_stream.config.rule import DEFAULT_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

HALF = "holds half a character: it is no text in UTF-8"
NULLS = frozenset({"null", "Null", "NULL", "~"})
QUOTES = frozenset("'\"")
YAML_TAG = "tag:yaml.org,2002:"
PREFIX = "ADAPTIVE_STREAM__"
MAX_DEPTH = 16  # the tree has 6 levels; an alias may point at the mapping that holds it
Where: TypeAlias = "Callable[[yaml.Mark], Place]"


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


class Place(NamedTuple):
    """Where a value stands: a file and a place in it, a variable or an option."""

    source: str
    mark: str = ""

    def __str__(self) -> str:
        return self.source + self.mark


class Sources:
    """The merged raw tree, and where each value came from."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.places: dict[Path_, Place] = {}
        self.mistakes: list[Mistake] = []

    def place(self, path: Path_) -> Place:
        """Return the source of a value, or of the nearest part around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                found = self.places[path[:length]]
                inside = (place for known, place in self.places.items() if known[: len(path)] == path)
                return found if length == len(path) else next(inside, found)
        return next((place for known, place in self.places.items() if known[: len(path)] == path), Place("defaults"))

    def blamed(self, block: Path_, settings: Iterable[Setting]) -> Place:
        """Return the place of a mistake of several settings: their block, unless the last came from elsewhere."""
        spanned = [(*block, *((name,) if isinstance(name, str) else name)) for name in settings]
        given = [place for known, place in self.places.items() if any(known[: len(one)] == one for one in spanned)]
        around = self.place(block)
        return given[-1] if given and given[-1].source != around.source else around

    def add_file(self, path: Path) -> None:
        """Merge a YAML file."""
        node = self._composed(path)
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            self._add(Place(str(path), ":1:1"), (), "the file must hold a mapping of settings")
            return
        self.tree = _merge(self.tree, self._value(node, (), lambda mark: Place(str(path), _at(mark))))

    def add_variable(self, name: str, text: str) -> None:
        """Merge the value of a variable of the environment, as ``ADAPTIVE_STREAM__KAFKA__BOOTSTRAP``."""
        self.add_setting(self._named(name.removeprefix(PREFIX).split("__")), text, name)

    def add_setting(self, path: Path_, text: str, source: str) -> None:
        """Merge one value from the environment or the command line: a text as it is written, all else as YAML."""
        for length in range(1, len(path)):
            if not isinstance(self._given(path[:length], {}), dict):  # a list or a value, which gives way to this one
                self._forget(path[:length])
        branch: Any = self._read(path, text, Place(source))
        for name in reversed(path):
            branch = {name: branch}
        self.tree = _merge(self.tree, branch)

    def _composed(self, path: Path) -> yaml.Node | None:
        """Return the nodes of a file; None where it holds nothing, or is none, which is noted."""
        mark = ""
        try:
            text = path.read_text(encoding="utf-8")
            try:
                return yaml.compose(text, Loader=_Loader)
            except RecursionError:
                mark, why = _deep(text), "is nested without end"
        except OSError as error:
            why = f"cannot be read: {error.strerror}"
        except UnicodeDecodeError:
            why = "cannot be read: not UTF-8"
        except yaml.MarkedYAMLError as error:
            mark, why = _at(error.problem_mark), f"not valid YAML: {error.problem}"
        except yaml.YAMLError as error:  # the reader's: a character that no YAML may hold
            why = f"not valid YAML: {str(error).splitlines()[0]}"
        except (ValueError, OverflowError):  # an escape for a character that does not exist
            why = "not valid YAML: it names a character that there is not"
        self._add(Place(str(path), mark), (), why)
        return None

    def _named(self, words: Sequence[str]) -> Path_:
        """Return the path that a variable means: a name has its capitals from what is there, for many write none."""
        path: tuple[str, ...] = ()
        for word in words:
            given = self._given(path, {})
            names = set(given) if isinstance(given, dict) else set()
            if path[:1] == ("families",) and path[2:] == ("alerts",):
                names |= DEFAULT_NAMES
            alike = [name for name in names if name.lower() == word.lower()]
            path = (*path, word if word in names else alike[0] if len(alike) == 1 else word.lower())
        return path

    def _read(self, path: Path_, text: str, place: Place) -> Any:  # noqa: ANN401 - any YAML value
        node: yaml.Node | None = None
        value: Any = nothing(path)
        if not _is_whole(text):
            self._add(place, path, HALF)
        elif is_text(path):
            value = _text(path, text)
        else:
            try:
                node = yaml.compose(text, Loader=_Loader)
            except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
                value = text
        if node is not None:
            return self._value(node, path, lambda _: place)
        self._put(path, place, is_merged=isinstance(value, dict))
        return value

    def _add(self, place: Place, path: Path_, message: str) -> None:
        self.mistakes.append(Mistake(str(place), dotted(path), message))

    def _given(self, path: Path_, default: Any) -> Any:  # noqa: ANN401 - any YAML values
        """Return what the sources before hold at a place."""
        found: Any = self.tree
        for part in path:
            if not isinstance(found, dict) or part not in found:
                return default
            found = found[part]
        return found

    def _put(self, path: Path_, place: Place, *, is_merged: bool = False) -> None:
        """Note where a value came from; one that is not merged with what stood there takes its parts away."""
        if is_merged:
            self.places.pop(path, None)  # the newest comes last
        else:
            self._forget(path)
        self.places[path] = place

    def _forget(self, path: Path_) -> None:
        for known in [known for known in self.places if known[: len(path)] == path]:
            del self.places[known]

    def _value(self, node: yaml.Node, path: Path_, where: Where) -> Any:  # noqa: ANN401 - any YAML value
        is_merged = isinstance(node, yaml.MappingNode) and isinstance(self._given(path, {}), dict)
        self._put(path, where(node.start_mark), is_merged=is_merged)
        if len(path) > MAX_DEPTH:
            self._add(self.places[path], path[:1], "is nested without end")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, where)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, place), where) for place, item in enumerate(node.value)]
        try:
            value = _Loader("").construct_document(node)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError):  # the last two from !!bool and !!timestamp
            tag = node.tag.replace(YAML_TAG, "!!")
            self._add(self.places[path], path, f"is no plain YAML value: tag {tag}")
            return None
        if isinstance(value, str) and not _is_whole(value):
            self._add(self.places[path], path, HALF)
            return None
        return nothing(path) if value is None else value

    def _mapping(self, node: yaml.MappingNode, path: Path_, where: Where) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            here = where(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self._add(here, path, "a name must be a text, not a list or a mapping")
                continue
            key = str(key_node.value)
            if not _is_whole(key):
                self._add(here, path, f"the name {key!r} {HALF}")
                continue
            if key in made:
                self._add(here, (*path, key), "is given twice")
            made[key] = self._value(value_node, (*path, key), where)
            self._put((*path, key), here, is_merged=True)
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


def _at(mark: yaml.Mark | None) -> str:
    return "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"


def _deep(text: str) -> str:
    """Return where a text is nested deeper than anything may be; the parser alone does not recurse."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH and event.start_mark is not None:
            return f":{event.start_mark.line + 1}:{event.start_mark.column + 1}"
    return ""


def _merge(under: Any, over: Any) -> Any:  # noqa: ANN401 - any YAML values
    if isinstance(under, dict) and isinstance(over, dict):
        return {**under, **{key: _merge(under.get(key), value) for key, value in over.items()}}
    return over
