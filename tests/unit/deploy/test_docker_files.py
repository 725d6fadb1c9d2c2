"""What deploy/docker says agrees with itself and with the program that it starts."""

import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from faasctl.commands.serve import command as serve
from tests.harness import ROOT

FOLDER = ROOT / "deploy/docker"
ENTRYPOINT = (FOLDER / "entrypoint").read_text()
README = (FOLDER / "README.md").read_text()


def service() -> dict[str, Any]:
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (FOLDER / "compose.yaml").read_text())
    (found,) = yaml.safe_load(text)["services"].values()
    return dict(found)


def test_the_entrypoint_starts_the_server_with_flags_that_it_has() -> None:
    (line,) = re.findall(r"^set -- serve (.*)$", ENTRYPOINT, re.M)
    known = re.findall(r"--[a-z-]+", CliRunner().invoke(serve, ["--help"]).output)
    assert [flag for flag in re.findall(r"--[a-z-]+", line) if flag not in known] == []
    assert "--provider docker --keep" in line


def test_the_entrypoint_is_a_script_that_a_shell_can_read() -> None:
    subprocess.run(["sh", "-n", str(FOLDER / "entrypoint")], check=True)


def test_folders_have_the_same_path_inside_and_outside() -> None:
    volumes = [volume.split(":") for volume in service()["volumes"]]
    assert all(inside == outside for outside, inside in volumes)
    assert {service()["environment"][name] for name in ("PILOTLIGHT_DATA", "PILOTLIGHT_RUN")} <= {v[0] for v in volumes}


def test_it_is_stopped_no_sooner_than_calls_may_take_to_end() -> None:
    assert int(service()["stop_grace_period"].removesuffix("s")) > 30 + 5 + 10


@pytest.mark.parametrize("option", ["cap_drop", "cap_add", "security_opt"])
def test_the_command_without_compose_has_the_same_rights(option: str) -> None:
    (command,) = re.findall(r"^\$ docker run -d (.*?)^```", README, re.M | re.S)
    words = " ".join(command.split())
    for value in service()[option]:
        assert f"--{option.replace('_', '-')} {value}" in words
    for volume in service()["volumes"]:
        assert f"-v {volume}" in words


def test_the_table_of_variables_is_the_files_own() -> None:
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", (FOLDER / "compose.yaml").read_text()))
    assert dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", README, re.M)) == used


def test_its_requirements_are_those_of_the_package() -> None:
    script = [sys.executable, str(FOLDER / "requirements"), str(ROOT / "pyproject.toml"), "docker"]
    said = subprocess.run(script, capture_output=True, text=True, check=True).stdout.splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert said == [*project["dependencies"], *project["optional-dependencies"]["docker"]]
