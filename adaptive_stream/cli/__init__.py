"""The command line: one file per group of verbs, wired here by hand.

Owns the exit codes and where words go: data to standard output, all else to standard error. Never contains logic of its
own. Heavy imports stand inside the verbs, so that ``--help`` is quick.
"""

from __future__ import annotations

import logging

import typer

from adaptive_stream.cli import alerts, config, demo, dlq, drift, kafka, read, report, run, schemas, send, status

app = typer.Typer(
    name="adaptive-stream",
    help="Keep served machine-learning models good while they serve: a worker on Kafka.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verbs in (demo, run, config, schemas, read, status, drift, report, alerts, dlq, send, kafka):
    verbs.register(app)


def main() -> None:
    """Run the command line."""
    # each verb reports in its own words what came of a failure; `run` sets the levels anew
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    app()
