"""The file of logins while several write it: commands, and servers that start."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

COMMAND = "from faasctl.logins import store_login; store_login(path, url, 'u', 'p')"
SERVER = "from pilotlight.claims import merge_json; assert merge_json(path, {url: {}}) is None"
WRITER = """
import sys
from pathlib import Path
path = Path(sys.argv[1])
for number in range(25):
    url = f"http://{sys.argv[2]}:{number}"
    exec(sys.argv[3])
"""


def test_no_login_is_lost_to_one_that_is_stored_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "faasctl" / "credentials.json"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, f"writer{number}", work])
        for number, work in enumerate((COMMAND, COMMAND, SERVER, SERVER))
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    assert len(json.loads(path.read_text())) == 100
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["credentials.json"]
