"""https: a certificate that is trusted, one that is not, and one of another machine."""

import ssl
from pathlib import Path

import pytest

from tests.certificates import certificate
from tests.integration.faasctl.scripted import Cli, Reply, Scripted


@pytest.fixture
def secured(server: Scripted, tmp_path: Path) -> str:
    """The server with TLS, for localhost; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path / "localhost.pem", "localhost"))
    server.secure(context)
    server.answers["GET /api/v1/functions"] = Reply.json({"functions": []})
    return server.url.replace("http://127.0.0.1", "https://localhost")


def test_a_certificate_that_is_trusted_is_enough(cli: Cli, secured: str, tmp_path: Path) -> None:
    ran = cli("list", "--server", secured, SSL_CERT_FILE=str(tmp_path / "localhost.pem"))
    assert (ran.code, f"No functions on {secured}" in ran.err) == (0, True)


def test_a_certificate_that_nobody_vouches_for_is_refused(cli: Cli, server: Scripted, secured: str) -> None:
    ran = cli("list", "--server", secured.replace("https://", "https://admin:secret@"))
    assert ran.code == 3
    assert "shows a certificate that is not trusted: self-signed certificate" in ran.err
    assert server.requests == []


def test_a_certificate_of_another_machine_is_refused(cli: Cli, server: Scripted, secured: str, tmp_path: Path) -> None:
    url = secured.replace("localhost", "127.0.0.1")
    ran = cli("list", "--server", url, SSL_CERT_FILE=str(tmp_path / "localhost.pem"))
    assert ran.code == 3
    assert "shows a certificate that is not trusted: IP address mismatch" in ran.err
    assert server.requests == []
