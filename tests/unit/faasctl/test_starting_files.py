"""What `faasctl new` begins a function with: the templates' own files, wherever faasctl is installed."""

import shutil
from pathlib import Path

import pytest

from faasctl.commands import new
from faasctl.errors import CliError

TEMPLATES = Path(__file__).parents[3] / "templates"


@pytest.mark.parametrize("lang", new.LANGUAGES)
def test_each_template_brings_a_handler_its_test_and_requirements(lang: str) -> None:
    files = new.starting_files(lang)
    assert list(files) == ["handler.py", "handler_test.py", "requirements.txt"]
    assert files["handler.py"] == (TEMPLATES / lang / "function/handler.py").read_text()


def test_every_template_is_offered() -> None:
    assert set(new.LANGUAGES) == {path.parent.name for path in TEMPLATES.glob("*/template.yml")}


def test_in_an_installation_they_lie_beside_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site-packages"
    shutil.copytree(TEMPLATES / "python3-asgi", installed / "pilotlight/_templates/python3-asgi")
    monkeypatch.setattr(new, "__file__", str(installed / "faasctl/commands/new.py"))
    assert "app" in new.starting_files("python3-asgi")["handler.py"]
    with pytest.raises(CliError) as caught:
        new.starting_files("python3-lambda")
    assert caught.value.problems[0].slug == "template-missing"
