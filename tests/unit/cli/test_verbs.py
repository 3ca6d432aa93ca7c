"""The command line without a broker: exit codes, words, and what goes to which stream."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from typer.testing import CliRunner

from adaptive_stream.cli import app
from adaptive_stream.cli.run import reachable
from adaptive_stream.cli.status import sparkline

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = "kafka.bootstrap=127.0.0.1:1"  # tcpmux: nothing listens there
RUNNER = CliRunner()


def test_help_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'scipy', 'aiokafka', 'pydantic', 'torch', 'rich.live'}"
    check = f"import sys, adaptive_stream.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "verb",
    ["demo", "run", "validate", "config", "topics", "schemas", "tail", "status", "report", "send", "kafka"],
)
def test_every_verb_explains_itself(verb: str) -> None:
    done = RUNNER.invoke(app, [verb, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.stdout


def test_an_unknown_verb_is_a_usage_error() -> None:
    assert RUNNER.invoke(app, ["runn"]).exit_code == 2


def test_validate_lists_every_mistake_and_exits_78(tmp_path: Path) -> None:
    file = tmp_path / "worker.yaml"
    file.write_text("families:\n  f:\n    match: [m]\n    thresold: 0.5\nbatch:\n  commit_interval_ms: -1\n")
    done = RUNNER.invoke(app, ["validate", str(file)])
    assert done.exit_code == 78
    assert "worker.yaml:4" in done.stderr
    assert "threshold" in done.stderr
    assert "worker.yaml:6" in done.stderr
    assert done.stdout == ""


def test_validate_says_ok_on_standard_error(tmp_path: Path) -> None:
    file = tmp_path / "worker.yaml"
    file.write_text("families: {f: {match: [m]}}\n")
    done = RUNNER.invoke(app, ["validate", str(file)])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "ok\n")


def test_a_verb_that_only_reads_takes_the_families_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    match = 'families.mine.match=["*"]'
    monkeypatch.setenv("ADAPTIVE_STREAM__FAMILIES__OTHER__MATCH", "[b]")
    assert list(reachable(None, [match]).families) == ["other", "mine"]
    monkeypatch.delenv("ADAPTIVE_STREAM__FAMILIES__OTHER__MATCH")
    assert list(reachable(None, [match]).families) == ["mine"]
    assert reachable(None, None).families["any"].match == ["*"]


def test_a_file_for_a_worker_needs_a_family_for_every_verb(tmp_path: Path) -> None:
    file = tmp_path / "worker.yaml"
    file.write_text("seed: 1\n")
    done = RUNNER.invoke(app, ["status", "--config", str(file)])
    assert done.exit_code == 78
    assert "families: is missing" in done.stderr


def test_config_show_prints_what_it_was_given_and_masks_secrets(tmp_path: Path) -> None:
    file = tmp_path / "worker.yaml"
    file.write_text(
        "families: {f: {match: [m]}}\n"
        "kafka: {security: {protocol: SASL_PLAINTEXT, mechanism: PLAIN, username: u, password: hunter2}}\n"
    )
    done = RUNNER.invoke(app, ["config", "show", "--config", str(file), "--set", "seed=7"])
    assert done.exit_code == 0
    assert "hunter2" not in done.output
    tree = yaml.safe_load(done.stdout)
    assert tree["seed"] == 7
    assert tree["families"]["f"]["match"] == ["m"]
    as_json = RUNNER.invoke(app, ["config", "show", "--config", str(file), "--set", "seed=7", "--json"])
    assert json.loads(as_json.stdout) == tree


def test_config_schema_is_a_json_schema_of_the_tree() -> None:
    done = RUNNER.invoke(app, ["config", "schema"])
    assert "families" in json.loads(done.stdout)["properties"]


def test_the_guide_in_the_docs_is_the_one_that_the_tree_gives() -> None:
    guide = Path(__file__).parents[3] / "docs" / "guide" / "configuration.md"
    assert RUNNER.invoke(app, ["config", "guide"]).stdout == guide.read_text(encoding="utf-8"), (
        "run `adaptive-stream config guide > docs/guide/configuration.md`"
    )


@pytest.mark.parametrize(
    "arguments",
    [["tail", "alerts"], ["status"], ["report", "m", "-o", "-"], ["topics", "check"]],
    ids=" ".join,
)
def test_no_broker_is_exit_69_with_the_address(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adaptive_stream.runtime.topics.PATIENCE_S", 0.0)
    done = RUNNER.invoke(app, [*arguments, "--set", NOBODY])
    assert done.exit_code == 69, done.output
    assert "127.0.0.1:1" in done.stderr
    assert done.stdout == ""


def test_tail_says_which_topic_was_meant() -> None:
    done = RUNNER.invoke(app, ["tail", "alert"])
    assert done.exit_code == 2
    assert "did you mean 'alerts'?" in done.stderr


def test_outputs_cannot_be_sent() -> None:
    assert RUNNER.invoke(app, ["send", "alerts", "-"]).exit_code == 2


def test_send_names_each_bad_line_with_its_number_its_code_and_its_path(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(
        '{"prediction_id":"p","model_id":"m","output":0.5}\n'
        "\n"
        '{"prediction_id":"p","model_id":"m"}\n'
        "nonsense\n"
        '{"prediction_id":"","model_id":"m","output":0.5}\n'
    )
    done = RUNNER.invoke(app, ["send", "predictions", str(file), "--check", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {"sent": 0, "bad": 3}
    lines = done.stderr.splitlines()
    assert [line.removeprefix(f"{file}:").split(" at ")[0] for line in lines] == [
        "3: invalid_event",
        "4: not_json",
        "5: invalid_event",
    ]
    assert "$.prediction_id" in lines[2]


def test_send_reads_standard_input() -> None:
    body = '{"kind":"rating","feedback_id":"f","prediction_id":"p","model_id":"m","score":4}\n'
    done = RUNNER.invoke(app, ["send", "feedback", "-", "--check"], input=body)
    assert (done.exit_code, done.stderr) == (0, "0 sent, 0 bad\n")


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert RUNNER.invoke(app, ["send", "feedback", str(tmp_path / "no")]).exit_code == 2


def test_a_file_that_cannot_be_read_is_no_failure_of_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"prediction_id":"p","model_id":"m","output":0.5}\n')

    def refuse(path: Path, _mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    done = RUNNER.invoke(app, ["send", "predictions", str(file), "--check"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"{file} cannot be read: Permission denied; 0 events were sent\n"


@pytest.mark.parametrize(("target", "said"), [("/no/such/folder/x.json", "there is no folder"), ("/", "is a folder")])
def test_the_demo_does_not_start_where_its_summary_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, target: str, said: str
) -> None:
    monkeypatch.setattr("adaptive_stream.demo.run.run", lambda *_: pytest.fail("the demo was started"))
    done = RUNNER.invoke(app, ["demo", "--json", target])
    assert done.exit_code == 2, done.exception
    assert said in done.stderr


def test_the_demos_words_are_printed_though_its_summary_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = {"recount": {"equal": True}}

    def run(_options: object, _screen: object, report: Callable[[object], None]) -> object:
        tmp_path.rmdir()  # it was there when the demo began
        report(summary)
        return summary

    monkeypatch.setattr("adaptive_stream.demo.run.run", run)
    monkeypatch.setattr("adaptive_stream.demo.summary.words", lambda _: "a year of flights")
    done = RUNNER.invoke(app, ["demo", "--json", str(tmp_path / "x.json")])
    assert done.exit_code == 2, done.exception
    assert "a year of flights" in done.stdout
    assert "x.json cannot be written: No such file or directory" in done.stderr


def test_a_sparkline_spans_its_values_and_leaves_gaps() -> None:
    assert sparkline([0.0, None, 1.0]) == "▁ █"
    assert sparkline([0.5, 0.5]) == "▁▁"
    assert sparkline([None]) == ""
