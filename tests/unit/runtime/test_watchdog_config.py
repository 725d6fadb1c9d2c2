"""What a watchdog is told: durations, numbers, flags, and a sentence for each that is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight_runtime.http1 import RequestHead
from pilotlight_runtime.watchdog_config import BadVariable, parse_config, parse_duration
from pilotlight_runtime.watchdog_program import variables_of


def test_a_program_is_all_that_must_be_named() -> None:
    config = parse_config({"fprocess": "grep -c 'two words'"})
    assert config.command == ("grep", "-c", "two words")
    assert (config.mode, config.exec_timeout, config.port, config.max_inflight) == ("serializing", 30, 8080, 0)


def test_the_older_name_counts_where_the_newer_is_not_set() -> None:
    assert parse_config({"function_process": "cat", "fprocess": ""}).command == ("cat",)
    assert parse_config({"function_process": "cat", "fprocess": "wc"}).command == ("wc",)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "fprocess: is not set"),
        ({"fprocess": "  "}, "fprocess: names no program"),
        ({"fprocess": "cat 'open"}, "fprocess: no closing quotation"),
        ({"fprocess": "cat", "mode": "inproc"}, "mode: must be serializing, streaming, http or static, not 'inproc'"),
        ({"fprocess": "cat", "mode": "http"}, "upstream_url: is not set; with mode=http it says where"),
        ({"fprocess": "x", "mode": "http", "upstream_url": "https://x:1"}, "upstream_url: must be like http://127"),
        ({"fprocess": "x", "mode": "http", "upstream_url": "http://x:99999"}, "upstream_url: must be like http://127"),
        ({"fprocess": "cat", "jwt_auth": "true"}, "jwt_auth: is not supported here; `auth: key`"),
        ({"fprocess": "cat", "ready_path": "ready"}, "ready_path: must be a path that begins with /"),
        ({"fprocess": "cat", "content_type": "a\nb"}, "content_type: must be what a header can hold"),
        ({"fprocess": "cat", "exec_timeout": "soon"}, "exec_timeout: must be seconds or a duration like 1m30s"),
        ({"fprocess": "cat", "port": "70000"}, "port: must be a whole number, at most 65535"),
        ({"fprocess": "cat", "max_inflight": "-1"}, "max_inflight: must be a whole number"),
        ({"fprocess": "cat", "combine_output": "yes"}, "combine_output: must be true or false, not 'yes'"),
    ],
)
def test_a_variable_that_is_wrong_is_named(variables: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadVariable) as error:
        parse_config(variables)
    assert sentence in str(error.value)


def test_what_does_nothing_is_noted_and_what_is_off_is_not() -> None:
    config = parse_config({"fprocess": "cat", "marshal_request": "true", "hard_timeout": "5s", "jwt_auth": "false"})
    assert [note.partition(" ")[0] for note in config.notes] == ["marshal_request", "hard_timeout"]
    assert "exec_timeout" in config.notes[1]


def test_an_upstream_is_read_from_its_url_under_both_names() -> None:
    given = {"fprocess": "x", "mode": "http"}
    assert parse_config({**given, "upstream_url": "http://127.0.0.1:3000"}).upstream == ("127.0.0.1", 3000, "")
    assert parse_config({**given, "http_upstream_url": "http://localhost/a/"}).upstream == ("localhost", 80, "/a")


def test_files_need_no_program() -> None:
    config = parse_config({"mode": "static", "static_path": "/srv"})
    assert (config.command, config.static_path) == ((), "/srv")


def test_a_log_line_may_be_as_long_as_we_can_hold() -> None:
    assert parse_config({"fprocess": "cat", "log_buffer_size": "-1"}).log_line_bytes == 2**20


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("0", 0)]
)
def test_durations_are_seconds_or_gos(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.text(max_size=12))
def test_whatever_is_no_duration_is_refused_by_name(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except ValueError as error:
        assert str(error) in (text, "")


def head(target: bytes = b"/a/b?x=1&y", **noted: bytes) -> RequestHead:
    made = RequestHead()
    made.method, made.target = b"POST", target
    made.headers = [(b"Content-Type", b"text/plain"), (b"X-Api-Key", b"k")]
    made.noted = {name.replace("_", "-").encode(): value for name, value in noted.items()}
    return made


def test_a_program_finds_the_head_in_its_variables() -> None:
    found = variables_of(head(host=b"f.example", content_length=b"3", x_call_id=b"c1"))
    assert found == {
        "Http_Content_Type": "text/plain", "Http_X_Api_Key": "k", "Http_Host": "f.example",
        "Http_Content_Length": "3", "Http_ContentLength": "3", "Http_X_Call_Id": "c1",
        "Http_Method": "POST", "Http_Path": "/a/b", "Http_Query": "x=1&y",
    }  # fmt: skip


def test_a_chunked_body_has_no_length() -> None:
    found = variables_of(head(b"/", transfer_encoding=b"chunked"))
    assert found["Http_Transfer_Encoding"] == "chunked"
    assert "Http_ContentLength" not in found
    assert found["Http_Query"] == ""
