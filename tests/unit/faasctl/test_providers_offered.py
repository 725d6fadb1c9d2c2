"""What `faasctl serve --provider` offers is what the server has."""

from pathlib import Path

import pytest

from faasctl.commands.serve import PROVIDERS
from pilotlight.app import _parts
from pilotlight.config import Settings
from pilotlight.core.errors import InvalidSetting


async def test_the_providers_of_the_command_line_are_those_of_the_server(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=f"known: {', '.join(PROVIDERS)}$"):
        async with _parts(Settings(provider="none", data_dir=tmp_path)):
            pass
