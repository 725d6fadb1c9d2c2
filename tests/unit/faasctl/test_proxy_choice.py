"""When a proxy is used, and when it is not."""

import socket
import threading
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasctl.proxy import ProxyRefused, connected, proxy_for

ENV = {"HTTPS_PROXY": "http://me:p%40ss@proxy.example:3129", "http_proxy": "plain.example"}


def test_each_scheme_has_its_own() -> None:
    https, http = proxy_for("https", "faas.example.org", ENV), proxy_for("http", "faas.example.org", ENV)
    assert str(https) == "proxy.example:3129 (from HTTPS_PROXY)"
    assert str(http) == "plain.example:3128 (from http_proxy)"


def test_its_password_is_sent_to_it_and_not_shown() -> None:
    proxy = proxy_for("https", "faas.example.org", ENV)
    assert proxy is not None
    assert proxy.authorization == {"Proxy-Authorization": "Basic bWU6cEBzcw=="}
    assert "p@ss" not in str(proxy)
    assert "p%40ss" not in str(proxy)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_this_machine_is_reached_directly(host: str) -> None:
    assert proxy_for("http", host, ENV) is None


@pytest.mark.parametrize(
    ("rule", "direct"),
    [
        ("*", True), ("example.org", True), (".example.org", True), ("*.example.org", True),
        ("faas.example.org:443", True), ("other.org, example.org", True), ("ample.org", False), ("", False),
        ("faas", False),
    ],
)  # fmt: skip
def test_exceptions_are_domains(rule: str, direct: bool) -> None:
    assert (proxy_for("https", "faas.example.org", ENV | {"NO_PROXY": rule}) is None) is direct


@pytest.mark.parametrize(
    "text",
    ["socks5://a:1", "http://", "http://a:99999", "http://me:pa/ss@a:1", "http://me:1/pa@a:1", "http://me:p[@a:1"],
)
def test_what_is_no_http_proxy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY is no address of an HTTP proxy$"):
        proxy_for("https", "faas.example.org", {"HTTPS_PROXY": text})


@given(rule=st.text(max_size=30), host=st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8}){0,2}", fullmatch=True))
def test_any_exception_is_a_yes_or_a_no(rule: str, host: str) -> None:
    found = proxy_for("https", host, ENV | {"NO_PROXY": rule})
    assert found is None or found.variable == "HTTPS_PROXY"


@pytest.mark.parametrize(
    ("url", "target"),
    [("https://[2001:db8::1]", "[2001:db8::1]:443"), ("https://faas.example.org:8443", "faas.example.org:8443")],
)
def test_a_tunnel_is_asked_for_by_host_and_port(url: str, target: str) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            with listener.accept()[0] as sock:
                heard.append(sock.recv(4096))
                sock.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        proxy = proxy_for("https", "h", {"HTTPS_PROXY": f"http://127.0.0.1:{listener.getsockname()[1]}"})
        assert proxy is not None
        with pytest.raises(ProxyRefused, match="403"):
            connected(proxy, urlsplit(url), "tests", 5.0)
        thread.join()
    lines = heard[0].decode().splitlines()
    assert lines[:2] == [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]


def test_a_proxy_at_an_ipv6_address_is_named_as_one() -> None:
    assert str(proxy_for("http", "h", {"http_proxy": "http://[::1]"})) == "[::1]:3128 (from http_proxy)"
