"""The units fit the program that they start."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from faasctl.commands.serve import command as serve

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "systemd"


def test_the_service_starts_the_server_with_flags_that_it_has() -> None:
    _faasctl, verb, *flags = shlex.split(_service()["ExecStart"])
    known = re.findall(r"--[a-z-]+", CliRunner().invoke(serve, ["--help"]).output)
    assert verb == "serve"
    assert [flag for flag in flags if flag.startswith("--") and flag not in known] == []
    assert "--keep" in flags


def test_the_service_leaves_replicas_alone_and_keeps_what_adoption_needs() -> None:
    service = _service()
    assert (service["KillMode"], service["Restart"], service["Type"]) == ("process", "always", "notify")
    assert (service["RuntimeDirectoryPreserve"], service["Delegate"]) == ("yes", "yes")
    assert "XDG_RUNTIME_DIR=/run/pilotlight" in service["Environment"]


def test_the_drop_in_for_docker_changes_the_provider_and_nothing_else() -> None:
    (command,) = re.findall(r"^ExecStart=(.+)$", (FOLDER / "docker.conf").read_text(), re.M)
    assert command.replace(" --provider docker", "") == _service()["ExecStart"]


def test_its_data_lies_in_its_state_directory() -> None:
    service = _service()
    assert f"--data-dir /var/lib/{service['StateDirectory']}" in service["ExecStart"]


def test_the_sockets_are_the_callers_and_then_the_metrics_one() -> None:
    assert re.findall(r"^ListenStream=.*:(\d+)$", (FOLDER / "pilotlight.socket").read_text(), re.M) == ["8080", "8082"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
@pytest.mark.parametrize("unit", ["pilotlight.service", "pilotlight.socket"])
def test_systemd_finds_nothing_to_say_about_our_lines(unit: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(FOLDER / unit)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "Unknown" in line or "Failed to parse" in line]
    assert complaints == []


def _service() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(FOLDER / "pilotlight.service")
    return dict(parser["Service"])
