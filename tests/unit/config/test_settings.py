"""Settings come in as one JSON document, and a wrong one is told by its name."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.config import Settings
from pilotlight.core.errors import InvalidSetting


def read(**data: object) -> Settings:
    return Settings.from_json(json.dumps({"data_dir": "/data"} | data))


def test_what_is_written_is_read_back() -> None:
    settings = read(port=9000, router={"connections": 10}, python="/usr/bin/python3", control={"drain_seconds": 5})
    assert Settings.from_json(settings.to_json()) == settings
    assert (settings.python, settings.router.connections) == (Path("/usr/bin/python3"), 10)


@pytest.mark.parametrize(
    ("data", "sentence", "hint"),
    [
        ({"prot": 1}, "setting prot: there is no such setting", "`port`"),
        ({"router": {"conections": 1}}, "setting router.conections: there is no such setting", "`router.connections`"),
        ({"pool": {"zzz": 1}}, "setting pool.zzz: there is no such setting", "Known here: idle_end_seconds, spares"),
        ({"router": {"connections": "many"}}, 'setting router.connections: expected `int`, got `str`, not "many"', ""),
        ({"auth": "no"}, 'setting auth: expected `bool`, got `str`, not "no"', ""),
        ({"router": 5}, "setting router: it has settings in it, as in --set router.NAME=VALUE", ""),
    ],
)
def test_a_wrong_setting_is_named(data: dict[str, object], sentence: str, hint: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        read(**data)
    assert raised.value.detail == sentence
    assert hint in raised.value.hint


@given(st.text())
def test_text_that_is_no_document_is_an_invalid_setting_or_settings(text: str) -> None:
    with pytest.raises(InvalidSetting):
        Settings.from_json(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.sampled_from(["router", "port", "connections", "x"]), inner),
    )
)
def test_any_json_is_settings_or_one_sentence(data: object) -> None:
    try:
        Settings.from_json(json.dumps({"data_dir": "/data"} | data if isinstance(data, dict) else data))
    except InvalidSetting as error:
        assert "setting" in error.detail
