"""The token provider of OAUTHBEARER: somebody else's code, named in the configuration.

Owns the import, the call of the factory and the words for what is wrong with either. Never asks for a token. Called
when the configuration is checked and by every connection; all share one provider, so that it can keep its token.
"""

from __future__ import annotations

import importlib
import traceback
from functools import cache
from pathlib import Path

from aiokafka.abc import AbstractTokenProvider


@cache
def load_provider(name: str) -> AbstractTokenProvider:
    """Return what the factory makes; it is called once a process, outside of any event loop.

    Args:
        name: as ``package.module:factory``.

    Raises:
        ValueError: it cannot be imported or called, or makes something else.
    """
    module_name, colon, factory_name = name.partition(":")
    if not (colon and module_name and factory_name.isidentifier()):
        raise ValueError(f"{name!r} is not package.module:factory")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"{module_name} cannot be imported: {error}; it must be installed, or its folder on PYTHONPATH"
        ) from error
    except Exception as error:  # noqa: BLE001 - somebody else's module may raise anything
        raise ValueError(f"{module_name} cannot be imported: it raised {told(error)}") from None
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        what = "has no" if factory is None else "has a value, not a function,"
        raise ValueError(f"the module {module_name} {what} {factory_name}")  # noqa: TRY004 - a mistake of the configuration
    try:
        made = factory()
    except Exception as error:  # noqa: BLE001 - somebody else's function, too
        raise ValueError(f"{name}() raised {told(error)}") from None
    if not isinstance(made, AbstractTokenProvider):
        wanted = "an aiokafka.abc.AbstractTokenProvider"
        raise ValueError(f"{name}() made a {type(made).__name__}, not {wanted}")  # noqa: TRY004 - the same
    return made


def told(error: BaseException) -> str:
    """Return an exception's kind and the line that raised it; its words are kept back, they may hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place} (its message is kept back: it may hold a secret)"
