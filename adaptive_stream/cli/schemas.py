"""``schemas write|check``: the contracts as files, for those who do not speak Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Option("--folder", help="Where the schemas stand.")]
DEFAULT = Path("schemas")
EXAMPLES = "examples"  # written by hand, and executed by the tests


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    verbs = typer.Typer(help="The contracts as JSON Schemas and AsyncAPI.", no_args_is_help=True)
    verbs.command("write")(write)
    verbs.command("check")(check)
    app.add_typer(verbs, name="schemas")


def write(folder: Folder = DEFAULT) -> None:
    """Write the schemas of this build; other files are left as they are."""
    for name, text in _documents().items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
        typer.echo(str(file))


def check(folder: Folder = DEFAULT) -> None:
    """Check that the files are those of this build; exit 1 and a list when not."""
    documents = _documents()
    differences = [
        f"{'stale' if (folder / name).is_file() else 'missing'}: {folder / name}"
        for name, text in documents.items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != text.encode()
    ]
    found = (file for file in sorted(folder.rglob("*")) if file.is_file())
    differences += [
        f"extra: {file}"
        for file in found
        if (place := file.relative_to(folder)).as_posix() not in documents and place.parts[0] != EXAMPLES
    ]
    if differences:
        typer.echo("\n".join(differences))
        typer.echo("run `adaptive-stream schemas write`, and delete what is extra", err=True)
        raise typer.Exit(1)
    typer.echo("ok", err=True)


def _documents() -> dict[str, str]:
    from adaptive_stream.contracts.asyncapi import FILE, asyncapi_text
    from adaptive_stream.contracts.schema import schema_texts

    return {**schema_texts(), FILE: asyncapi_text()}
