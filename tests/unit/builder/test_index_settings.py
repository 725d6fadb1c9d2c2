"""An operator told pip once where packages come from; uv must hear the same."""

from pathlib import Path

import pytest

from pilotlight.builder.index import IndexSettings, index_settings, redacted


def conf(folder: Path, text: str) -> Path:
    path = folder / "pip.conf"
    path.write_text(text)
    return path


def test_pips_file_becomes_uvs_variables(tmp_path: Path) -> None:
    file = conf(
        tmp_path,
        f"[global]\nindex-url = https://u:p@mirror/simple\nextra-index-url =\n  file:///a/simple\n  file:///b/simple\n"
        f"find-links = {tmp_path} /not/there https://links/\ntrusted-host = mirror other:8443\ntimeout = 30.5\n",
    )
    found = index_settings({}, [file])
    assert found.several
    assert dict(found.variables) | {"UV_SYSTEM_CERTS": ""} == {
        "UV_DEFAULT_INDEX": "https://u:p@mirror/simple",
        "UV_INDEX": "file:///a/simple file:///b/simple",
        "UV_FIND_LINKS": f"{tmp_path},https://links/",
        "UV_INSECURE_HOST": "mirror other:8443",
        "UV_HTTP_TIMEOUT": "30",
        "UV_SYSTEM_CERTS": "",
    }


def test_later_files_win_and_variables_win_over_files(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    first = conf(tmp_path, "[global]\nindex_url = https://one/\nno-index = yes\nproxy = http://proxy:1\n")
    second = conf(tmp_path / "user", "[install]\nindex-url = https://two/\n")
    assert index_settings({}, [first, second]).no_index
    found = index_settings({"PIP_NO_INDEX": "0", "PIP_PROXY": "http://proxy:2"}, [first, second])
    assert found.variables["UV_DEFAULT_INDEX"] == "https://two/"
    assert found.variables["HTTPS_PROXY"] == "http://proxy:2"
    assert not found.no_index


def test_uvs_own_index_wins_over_all_of_pips() -> None:
    environ = {"UV_DEFAULT_INDEX": "https://uv/", "PIP_INDEX_URL": "https://pip/", "PIP_EXTRA_INDEX_URL": "https://x/"}
    found = index_settings(environ, [])
    assert (found.variables["UV_DEFAULT_INDEX"], found.several) == ("https://uv/", False)
    assert "UV_INDEX" not in found.variables


def test_where_uv_puts_things_is_not_the_operators_shells_to_say() -> None:
    environ = {
        "UV_CACHE_DIR": "/x",
        "UV_PYTHON": "3.9",
        "UV_LINK_MODE": "symlink",
        "UV_HTTP_TIMEOUT": "5",
        "LD_PRELOAD": "x",
    }
    found = dict(index_settings(environ, []).variables)
    found.pop("UV_SYSTEM_CERTS", None)
    assert found == {"UV_HTTP_TIMEOUT": "5"}


def test_proxies_in_both_spellings_pass() -> None:
    environ = {"https_proxy": "http://proxy:3128", "NO_PROXY": "localhost", "PIP_PROXY": "http://pip:1"}
    found = index_settings(environ, []).variables
    assert (found["https_proxy"], found["NO_PROXY"], found["HTTP_PROXY"]) == (
        "http://proxy:3128",
        "localhost",
        "http://pip:1",
    )


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_bundle_is_found_under_each_of_its_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "ca.pem").write_text("x")
    assert index_settings({name: str(tmp_path / "ca.pem")}, []).certificate == tmp_path / "ca.pem"


def test_a_file_that_is_no_configuration_is_passed_over(tmp_path: Path) -> None:
    assert "UV_DEFAULT_INDEX" not in index_settings({}, [conf(tmp_path, "index-url = x"), tmp_path / "gone"]).variables


def test_the_digest_is_of_what_is_found_and_not_of_how() -> None:
    one = IndexSettings(variables={"UV_DEFAULT_INDEX": "https://me:old@mirror/", "UV_HTTP_TIMEOUT": "5"})
    two = IndexSettings(variables={"UV_DEFAULT_INDEX": "https://me:new@mirror/", "HTTPS_PROXY": "http://p"})
    other = IndexSettings(variables={"UV_DEFAULT_INDEX": "https://me:new@elsewhere/"})
    assert one.digest == two.digest != other.digest


def test_credentials_are_not_shown() -> None:
    assert redacted("GET https://me:secret@host/x?a@b and file:///p") == "GET https://***@host/x?a@b and file:///p"
