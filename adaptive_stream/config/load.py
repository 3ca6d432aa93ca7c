"""From files, environment and command line to one frozen tree, or to all mistakes at once.

Owns the precedence and the places: every mistake names the file and line, the variable or the option it came from.
Never guesses: an unknown name is a mistake, with what was probably meant. Called by the verbs.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from adaptive_stream.config.reference import UnfitError, read_reference
from adaptive_stream.config.tree import Config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PREFIX = "ADAPTIVE_STREAM__"
MASK = "********"
MAX_DEPTH = 16  # the tree has 6 levels; an alias may point at the mapping that holds it
Path_ = tuple[str | int, ...]


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


class ConfigError(Exception):
    """The configuration is refused. ``mistakes`` lists all of them."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = list(mistakes)
        count = len(self.mistakes)
        super().__init__(
            f"{count} mistake{'s' if count != 1 else ''} in the configuration:\n"
            + "\n".join(f"  {mistake}" for mistake in self.mistakes)
        )


class _Sources:
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
        if value is not None and not isinstance(value, str) and _is_text(path):
            value = text  # a password of digits is no number
        branch: Any = value
        for name in reversed(path):
            branch = {name: branch}
        self.tree = _merge(self.tree, branch)
        self.places[path] = source

    def _value(self, node: yaml.Node, path: Path_, file: str) -> Any:  # noqa: ANN401 - any YAML value
        self.places[path] = f"{file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
        if len(path) > MAX_DEPTH:
            self.mistakes.append(Mistake(self.places[path], _dotted(path[:1]), "is nested without end"))
            return None
        if isinstance(node, yaml.MappingNode):
            made: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                here = f"{file}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
                if key in made:
                    self.mistakes.append(Mistake(here, _dotted((*path, key)), "is given twice"))
                made[key] = self._value(value_node, (*path, key), file)
                self.places[(*path, key)] = here
            return made
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, place), file) for place, item in enumerate(node.value)]
        try:
            return yaml.load(yaml.serialize(node), Loader=_Loader)  # noqa: S506 - a SafeLoader
        except (yaml.YAMLError, ValueError):
            self.mistakes.append(Mistake(self.places[path], _dotted(path), f"is no plain YAML value: tag {node.tag}"))
            return None


def load(files: Sequence[Path], environ: Mapping[str, str], overrides: Sequence[str] = ()) -> Config:
    """Return the configuration: files (each over the one before) < environment < overrides.

    Args:
        files: YAML files.
        environ: variables as ``ADAPTIVE_STREAM__KAFKA__BOOTSTRAP``; others are not looked at.
        overrides: as ``kafka.bootstrap=host:9092``.

    Raises:
        ConfigError: with all mistakes.
    """
    sources = _Sources()
    for path in files:
        sources.add_file(path)
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX):
            sources.add_setting(tuple(name[len(PREFIX) :].lower().split("__")), text, name)
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            sources.mistakes.append(Mistake(f"--set {override}", "", "must be name=value, as kafka.group=mine"))
            continue
        sources.add_setting(tuple(name.strip().split(".")), text, f"--set {name.strip()}")
    config: Config | None = None
    try:
        config = Config.model_validate(sources.tree)
    except ValidationError as error:
        sources.mistakes.extend(_explain(error, sources))
    if config is not None:
        sources.mistakes.extend(_read_references(config, sources))
    if sources.mistakes or config is None:
        raise ConfigError(sources.mistakes)
    return config


def _read_references(config: Config, sources: _Sources) -> Iterator[Mistake]:
    """Read the files that families name; yield what is wrong with them, at the place of the setting."""
    for name, family in config.families.items():
        if family.drift.reference_file is None:
            continue
        path = ("families", name, "drift", "reference_file")
        try:
            family.drift.adopt(read_reference(Path(family.drift.reference_file), family))
        except UnfitError as error:
            for mistake in error.mistakes:
                yield Mistake(sources.place(path), _dotted(path), mistake)


def show(config: Config) -> dict[str, Any]:
    """Return the whole tree as plain values, secrets masked."""
    shown: dict[str, Any] = config.model_dump(mode="json")
    security = config.kafka.security
    for name in ("password", "key_password"):
        if isinstance(getattr(security, name), SecretStr):
            shown["kafka"]["security"][name] = MASK
    return shown


def _explain(error: ValidationError, sources: _Sources) -> Iterator[Mistake]:
    for detail in error.errors(include_url=False):
        location = tuple(part for part in detail["loc"] if part != "[key]")
        path = _dotted(location)
        match detail["type"]:
            case "extra_forbidden":
                known = _fields_at(location[:-1])
                close = difflib.get_close_matches(str(location[-1]), known, n=1)
                hint = f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(known)}"
                message = f"unknown setting; {hint}"
            case "missing":
                message = "is missing"
            case "literal_error":
                allowed = detail["ctx"]["expected"]
                given = str(detail["input"])
                names = {name.strip("'").lower(): name.strip("'") for name in _allowed(allowed)}
                close = difflib.get_close_matches(given.lower(), names, n=1)
                hint = f'; did you mean "{names[close[0]]}"?' if close else ""
                message = f"{given!r} is not one of {allowed}{hint}"
            case "value_error":
                message = detail["msg"].removeprefix("Value error, ")
            case _:
                is_secret = path.startswith("kafka.security")
                given = "" if is_secret or isinstance(detail["input"], dict | list) else f", not {detail['input']!r}"
                message = detail["msg"].replace("Input should be", "should be") + given
        yield Mistake(sources.place(location), path, message)


def _allowed(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").split(", ")


def _fields_at(location: Sequence[str | int]) -> list[str]:
    """Return the names of the settings that are known at a place of the tree."""
    kind = _kind_at(location)
    return sorted(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _kind_at(location: Sequence[str | int]) -> Any:  # noqa: ANN401 - a type, or a form of typing
    """Return the type of a place of the tree; None where there is no such place."""
    kind: Any = Config
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field is not None else None
        elif get_origin(kind) in (dict, list):
            kind = get_args(kind)[-1]
    return kind


def _is_text(path: Path_) -> bool:
    """Say whether a place of the tree holds a text, a secret one perhaps."""
    kind = _kind_at(path)
    return bool({str, SecretStr} & {kind, *get_args(kind)}) and get_origin(kind) not in (dict, list)


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in path)


def _merge(under: Any, over: Any) -> Any:  # noqa: ANN401 - any YAML values
    if isinstance(under, dict) and isinstance(over, dict):
        return {**under, **{key: _merge(under.get(key), value) for key, value in over.items()}}
    return over
