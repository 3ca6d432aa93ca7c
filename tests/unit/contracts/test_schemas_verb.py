from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from adaptive_stream.cli import schemas

ROOT = Path(__file__).parents[3]
app = typer.Typer()
schemas.register(app)


def run(verb: str, folder: Path) -> tuple[int, list[str]]:
    """Return the exit code and what went to standard output."""
    done = CliRunner().invoke(app, ["schemas", verb, "--folder", str(folder)])
    return done.exit_code, done.stdout.splitlines()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    code, files = run("write", tmp_path)
    assert code == 0
    assert sorted(files) == sorted(str(file) for file in tmp_path.rglob("*.*"))
    return tmp_path


def test_what_was_written_is_found_in_order(written: Path) -> None:
    assert run("check", written) == (0, [])


def test_the_schemas_in_this_repository_are_those_of_this_code() -> None:
    assert run("check", ROOT / "schemas") == (0, [])


@pytest.mark.parametrize("name", ["asyncapi.yaml", "v1/feedback.schema.json"])
def test_a_file_that_differs_by_a_byte_is_stale(written: Path, name: str) -> None:
    file = written / name
    file.write_bytes(file.read_bytes() + b"\n")
    assert run("check", written) == (1, [f"stale: {file}"])
    run("write", written)
    assert run("check", written) == (0, [])


def test_files_that_are_missing_or_extra_are_listed_together(written: Path) -> None:
    (written / "v1/alert.schema.json").unlink()
    (written / "v1/sale.schema.json").write_text("{}")
    assert run("check", written) == (
        1,
        [f"missing: {written / 'v1/alert.schema.json'}", f"extra: {written / 'v1/sale.schema.json'}"],
    )
    run("write", written)
    assert (written / "v1/sale.schema.json").exists(), "what somebody else wrote is not deleted"


def test_an_empty_folder_lacks_everything_and_examples_are_nobodys_business(tmp_path: Path, written: Path) -> None:
    code, lines = run("check", tmp_path / "nowhere")
    assert code == 1
    assert len(lines) == 10
    assert all(line.startswith("missing: ") for line in lines)
    (written / "examples").mkdir()
    (written / "examples" / "README.md").write_text("by hand")
    assert run("check", written) == (0, [])
