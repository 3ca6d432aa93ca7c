"""``demo``: a year of flights on a real Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptive_stream.cli.report import STANDARD_OUTPUT, check_target, replace

if TYPE_CHECKING:
    from adaptive_stream.demo.summary import Summary


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the summary here; - is standard output.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random in it.", min=0)] = 1,
    ui: Annotated[bool, typer.Option("--ui/--no-ui", help="Draw, or print lines. Needs a terminal.")] = True,
    speed: Annotated[float, typer.Option(help="Event time per real time; 0: as fast as it goes.", min=0)] = 0.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave Kafka and the worker running, until Ctrl-C.")] = False,
    kill_worker: Annotated[bool, typer.Option("--kill-worker", help="SIGKILL the worker three times.")] = False,
) -> None:
    """Serve a year of flights, learn the outcomes, watch the model degrade: on a real Kafka, in a minute."""
    import sys

    try:
        from adaptive_stream.demo.run import DemoFailed, Options, run
        from adaptive_stream.demo.screen import Screen
        from adaptive_stream.embedded import EmbeddedKafkaError
        from adaptive_stream.runtime.failure import Fatal
    except ModuleNotFoundError as error:
        typer.echo(f"{error.name} is missing: pip install 'adaptive-stream[worker,embedded]'", err=True)
        raise typer.Exit(69) from error

    if json_file is not None:
        check_target(str(json_file))
    is_written = True

    def report(summary: Summary) -> None:
        nonlocal is_written
        is_written = _report(summary, json_file, is_kept=keep)

    options = Options(seed=seed, speed=speed, is_killed=kill_worker, is_kept=keep)
    try:
        with Screen(has_ui=ui and sys.stderr.isatty()) as screen:
            summary = run(options, screen, report)
    except (DemoFailed, EmbeddedKafkaError, Fatal) as failure:
        typer.echo(str(failure), err=True)
        raise typer.Exit(69) from failure
    except KeyboardInterrupt as interrupt:
        typer.echo("stopped; nothing is left behind", err=True)
        raise typer.Exit(130) from interrupt
    if not summary["recount"]["equal"]:
        raise typer.Exit(1)
    if not is_written:
        raise typer.Exit(2)


def _report(summary: Summary, json_file: Path | None, *, is_kept: bool) -> bool:
    """Print the summary, and write it where that is asked for; return whether it could be written."""
    import json

    from adaptive_stream.demo.summary import words

    is_written = True
    is_data_on_stdout = json_file is not None and str(json_file) == STANDARD_OUTPUT
    text = json.dumps(summary, indent=2) + "\n"
    if is_data_on_stdout:
        typer.echo(text, nl=False)
    typer.echo("\n" + words(summary), err=is_data_on_stdout)
    if json_file is not None and not is_data_on_stdout:
        try:
            replace(json_file, text.encode())
        except OSError as error:  # the words stand above: a minute's work is not lost
            typer.echo(f"{json_file} cannot be written: {error.strerror or error}", err=True)
            is_written = False
    if not is_kept:
        typer.echo(
            "\nNext: `make demo ARGS=--kill-worker` kills the worker on the way; `make demo ARGS=--keep` leaves all"
            " running to look at; README.md shows how to send feedback from your own app.",
            err=True,
        )
    return is_written
