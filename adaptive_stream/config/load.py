"""From files, environment and command line to one frozen tree, or to all mistakes at once.

Owns the precedence, and the words for what is wrong. Never guesses: an unknown name is a mistake, with what was
probably meant. Called by the verbs.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError

from adaptive_stream.config.kind import dotted, fields_at
from adaptive_stream.config.node import ClashError
from adaptive_stream.config.reference import UnfitError, read_reference
from adaptive_stream.config.source import PREFIX, Mistake, Sources
from adaptive_stream.config.tree import Config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MASK = "********"


class ConfigError(Exception):
    """The configuration is refused. ``mistakes`` lists all of them."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = list(mistakes)
        count = len(self.mistakes)
        super().__init__(
            f"{count} mistake{'s' if count != 1 else ''} in the configuration:\n"
            + "\n".join(f"  {mistake}" for mistake in self.mistakes)
        )


def load(
    files: Sequence[Path], environ: Mapping[str, str], overrides: Sequence[str] = (), *, needs_family: bool = True
) -> Config:
    """Return the configuration: files (each over the one before) < environment < overrides.

    Args:
        files: YAML files.
        environ: variables as ``ADAPTIVE_STREAM__KAFKA__BOOTSTRAP``; others are not looked at.
        overrides: as ``kafka.bootstrap=host:9092``.
        needs_family: False lets one that matches every model stand in where no family is given at all.

    Raises:
        ConfigError: with all mistakes.
    """
    sources = Sources()
    for path in files:
        sources.add_file(path)
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX):
            sources.add_variable(name, text)
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            sources.mistakes.append(Mistake(f"--set {override}", "", "must be name=value, as kafka.group=mine"))
            continue
        sources.add_setting(tuple(name.strip().split(".")), text, f"--set {name.strip()}")
    if not needs_family:
        sources.tree.setdefault("families", {"any": {"match": ["*"]}})
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


def _read_references(config: Config, sources: Sources) -> Iterator[Mistake]:
    """Read the files that families name; yield what is wrong with them, at the place of the setting."""
    for name, family in config.families.items():
        if family.drift.reference_file is None:
            continue
        path = ("families", name, "drift", "reference_file")
        try:
            family.drift.adopt(read_reference(Path(family.drift.reference_file), family))
        except UnfitError as error:
            for mistake in error.mistakes:
                yield Mistake(str(sources.place(path)), dotted(path), mistake)


def show(config: Config) -> dict[str, Any]:
    """Return the whole tree as plain values, secrets masked."""
    shown: dict[str, Any] = config.model_dump(mode="json")
    security = config.kafka.security
    for name in ("password", "key_password"):
        if isinstance(getattr(security, name), SecretStr):
            shown["kafka"]["security"][name] = MASK
    return shown


def _explain(error: ValidationError, sources: Sources) -> Iterator[Mistake]:
    for detail in error.errors(include_url=False):
        location = tuple(part for part in detail["loc"] if part != "[key]")
        path = dotted(location)
        match detail["type"]:
            case "extra_forbidden":
                known = fields_at(location[:-1])
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
            case "value_error" if isinstance(detail["ctx"]["error"], ClashError):
                for what, settings in detail["ctx"]["error"].mistakes:
                    yield Mistake(str(sources.blamed(location, settings)), path, what)
                continue
            case "value_error":
                message = detail["msg"].removeprefix("Value error, ")
            case _:
                is_secret = path.startswith("kafka.security")
                given = "" if is_secret or isinstance(detail["input"], dict | list) else f", not {detail['input']!r}"
                message = detail["msg"].replace("Input should be", "should be") + given
        yield Mistake(str(sources.place(location)), path, message)


def _allowed(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").split(", ")
