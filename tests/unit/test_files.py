"""What stands beside the package, checked without an engine: README, Dockerfile, compose file, pins."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from adaptive_stream.config import load

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 200
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_the_two_commands_stand_first_and_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert first is not None
    commands = [line.split("#")[0].strip() for line in first[1].splitlines()]
    assert commands == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE) for command in commands)
    ci = (ROOT / ".ci" / "run").read_text()
    assert all(command in ci for command in commands)


def test_every_direct_dependency_is_pinned_to_a_version_that_the_project_allows() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    wanted = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    for text in wanted:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[requirement.name.lower().replace("_", "-")]), text


def test_the_compose_file_starts_what_exists_with_a_configuration_that_loads() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = compose["services"]
    assert set(services) == {"kafka", "topics", "worker", "simulator"}
    for service in services.values():
        for name in service.get("depends_on", {}):
            assert name in services
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / source).exists(), source
        assert "image" in service or (ROOT / service["build"] / "Dockerfile").exists()
    environment = {name: str(value) for name, value in services["worker"]["environment"].items()}
    config = load([ROOT / "adaptive_stream" / "demo" / "worker.yaml"], environment)
    assert config.kafka.bootstrap == "kafka:9092"
    assert services["worker"]["ports"] == [f"{config.http.port}:{config.http.port}"]
    assert services["worker"]["read_only"] is True


def test_the_dockerfile_copies_what_exists_and_ends_as_nobody() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            *sources, _ = line.split()[1:]
            assert all((ROOT / source).exists() for source in sources), line
    assert "USER 10001" in lines
    assert any(line.startswith("FROM python:3.11-slim") for line in lines)


def test_the_changelog_has_the_version_of_the_package_or_something_unreleased() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{PROJECT['version']}]" in changelog
