"""``config show|schema|guide`` and ``validate``: what the worker would run with, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptive_stream.cli.run import AsJson, Files, Settings, loaded

if TYPE_CHECKING:
    from adaptive_stream.config import Config


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
    files: Annotated[list[Path], typer.Argument(help="YAML files, merged in this order.")],
    connect: Annotated[
        bool, typer.Option("--connect", help="Also connect, and check topics and permissions; changes nothing.")
    ] = False,
    settings: Settings = None,
) -> None:
    """Check configuration files; every mistake is listed, exit 78.

    With --connect also the cluster: exit 69 when it cannot be reached, 78 when a topic or a permission is missing. The
    commands that grant the missing permissions go to standard output.
    """
    tree = loaded(files, settings)
    if connect:
        _connect(tree)
    typer.echo("ok", err=True)


def _connect(tree: Config) -> None:
    """Say what is missing on the cluster and leave with the exit code, if anything is."""
    import asyncio

    from adaptive_stream.runtime import access, topics
    from adaptive_stream.runtime.failure import Fatal

    try:
        found = asyncio.run(access.check(tree))
        for permission in found.missing:
            typer.echo(f"missing: {permission}", err=True)
        for name in found.absent:
            typer.echo(f"missing: topic {name}; `adaptive-stream topics create` makes it", err=True)
        if found.missing:
            principal = asyncio.run(access.principal(tree))
            typer.echo(f"to grant what {principal} misses, as somebody who may Alter the cluster:", err=True)
            typer.echo("\n".join(access.commands(tree, found.missing, principal=principal)))
        if found.missing or found.absent:
            raise typer.Exit(78)
        asyncio.run(topics.check(tree))
    except Fatal as fatal:
        typer.echo(str(fatal), err=True)
        raise typer.Exit(fatal.exit_code) from fatal
