"""``config show|schema|guide`` and ``validate``: what the worker would run with, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptive_stream.cli.run import AsJson, Files, Settings, loaded


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    verbs = typer.Typer(help="The configuration.", no_args_is_help=True)
    verbs.command("show")(show)
    verbs.command("schema")(schema)
    verbs.command("guide")(guide)
    app.add_typer(verbs, name="config")
    app.command("validate")(validate)


def show(config: Files = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Print the whole configuration as the worker would see it; secrets are masked."""
    import json

    import yaml

    from adaptive_stream.config import show as shown

    tree = shown(loaded(config, settings))
    typer.echo(json.dumps(tree, indent=2) if as_json else yaml.safe_dump(tree, sort_keys=False).rstrip())


def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    import json

    from adaptive_stream.config import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def guide() -> None:
    """Print every setting with its values, its default and the reason, as Markdown."""
    from adaptive_stream.config.guide import guide as made

    typer.echo(made(), nl=False)


def validate(
    files: Annotated[list[Path], typer.Argument(help="YAML files, merged in this order.")], settings: Settings = None
) -> None:
    """Check configuration files; every mistake is listed, exit 78."""
    loaded(files, settings)
    typer.echo("ok", err=True)
