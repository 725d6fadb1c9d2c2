"""One server: the identity check, credentials, and every way in which a server can fail to answer.

The first request on a connection asks /api/v1/info, without the password: what is not Pilotlight never sees it.
"""

import json
import os
import socket
import sys
from binascii import b2a_base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

from faasctl import __version__
from faasctl.config import Server
from faasctl.errors import CliError, ExitCode, Place, Problem
from faasctl.wire import ANSWER_BYTES, Body, Connection, Cut, NotHttp, Response, Sent, TooLong, dial

CONNECT_SECONDS = 3.0
_OTHERS = 3
"""So many of the stored logins are named where nothing answers."""
ANSWER_SECONDS = 30.0
_AGENT = f"faasctl/{__version__}"
_PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_EXIT_OF_STATUS = {
    401: ExitCode.CREDENTIALS,
    403: ExitCode.CREDENTIALS,
    404: ExitCode.NOT_FOUND,
    408: ExitCode.TIMED_OUT,
    504: ExitCode.TIMED_OUT,
}


class Client:
    """One connection to one server, made at the first request."""

    def __init__(self, server: Server, *, connect_seconds: float = CONNECT_SECONDS) -> None:
        self.server = server
        self._connect_seconds = connect_seconds
        self._connection: Connection | None = None
        self._base = urlsplit(server.url)
        self._identity: dict[str, Any] | None = None
        """What it said that it is."""

    # --- the API -------------------------------------------------------------------------------------------------

    def reach(self) -> None:
        """CliError when nothing of ours answers there, before anything is said of what was asked for."""
        with self._translated():
            self._identified()

    def get(self, path: str, **query: object) -> dict[str, Any]:
        return self.json("GET", path, query=query)

    def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        seconds: float = ANSWER_SECONDS,
    ) -> dict[str, Any]:
        """One call of the API, JSON both ways; a problem becomes a CliError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        response = self._open(method, path, query, data, headers, seconds)
        with self._translated():
            return self._decode(response.whole())

    @contextmanager
    def lines(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Body = None,
        headers: Sent | None = None,
        seconds: float | None = ANSWER_SECONDS,
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """A call that answers with a stream of JSON objects; `seconds` bounds the silence between two of them."""
        response = self._open(method, path, query, body, headers or {}, seconds)
        try:
            yield self._objects(response)
        finally:
            if not response.done:
                self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- a function ----------------------------------------------------------------------------------------------

    def call(
        self, method: str, path: str, *, headers: Mapping[str, str], body: Body, seconds: float | None
    ) -> Response:
        """A request to a function: no credentials, and whatever it answers is an answer."""
        with self._translated():
            return self._send(self._connect(), method, path, body, headers, seconds)

    def blocks(self, response: Response) -> Iterator[bytes]:
        """The body as it arrives, so that a stream is seen while it runs."""
        arriving = response.blocks()
        while True:
            with self._translated():
                block = next(arriving, None)
            if block is None:
                return
            yield block

    # --- how ---------------------------------------------------------------------------------------------------

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        body: Body,
        headers: Sent,
        seconds: float | None,
    ) -> Response:
        """Ask the API; an answer that is a refusal becomes a CliError."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given, doseq=True)}" if given else path
        with self._translated():
            connection = self._identified()
            sent = {**headers, **self._authorization()}
            try:
                response = self._send(connection, method, target, body, sent, seconds)
            except (Cut, ConnectionResetError):
                if method != "GET" or connection.answers == 0:
                    raise
                # A server ends connections that were idle; one that it ended just now costs nobody an answer.
                self.close()
                response = self._send(self._identified(), method, target, body, sent, seconds)
            if response.status >= 300:
                raise self._refusal(response, response.read(1 << 20))
            return response

    def _identified(self) -> Connection:
        """A connection to something that says it is Pilotlight."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        connection = self._connect()
        if self._identity is not None:  # the server closed the last connection after an answer
            self._connection = connection
            return connection
        response = self._send(connection, "GET", "/api/v1/info", None, {}, ANSWER_SECONDS)
        data = response.read(1 << 20)
        if response.status >= 500:
            raise self._refusal(response, data)
        try:
            info = json.loads(data) if response.status == 200 else None
        except (ValueError, RecursionError):
            info = None
        if not isinstance(info, dict) or info.get("name") != "pilotlight":
            raise self._stranger(response, data)
        self._identity = info
        self._connection = self._connect() if connection.closed else connection
        return self._connection

    def _stranger(self, response: Response, data: bytes) -> CliError:
        """Something else answered. Of an OpenFaaS gateway people expect more than of a mail server."""
        if response.status == 400 and b"HTTPS" in data:
            return self._unreachable(f"{self.server.url} speaks TLS; is it https:// instead?")
        if response.status not in (401, 404):
            return self._not_pilotlight(_what_answered(response))
        asked = self._send(self._connect(), "GET", "/system/info", None, {}, ANSWER_SECONDS)
        if asked.status == 401 and "Restricted" in asked.headers.get("WWW-Authenticate"):
            return self._openfaas()
        if asked.status == 200 and b'"orchestration"' in asked.read(1 << 16):
            return self._openfaas()
        return self._not_pilotlight(_what_answered(response))

    def _openfaas(self) -> CliError:
        detail = f"{self.server.url} is an OpenFaaS gateway; it has no API for this command"
        other = "`faasctl invoke` works with it, and OpenFaaS' own faas-cli does the rest."
        return self._error(ExitCode.UNREACHABLE, "openfaas-gateway", detail, other)

    def _connect(self) -> Connection:
        base, tls = self._base, self._base.scheme == "https"
        if any(os.environ.get(name) for name in _PROXIES):
            connection = self._by_proxy()
            if connection is not None:
                return connection
        try:
            sock = dial(base.hostname or "", base.port or (443 if tls else 80), tls=tls, seconds=self._connect_seconds)
        except TimeoutError:
            raise self._unreachable(f"{self.server.url} did not answer within {self._connect_seconds:g} s") from None
        return Connection(sock, base.netloc, _AGENT)

    def _by_proxy(self) -> Connection | None:
        """None when the address is reached directly all the same."""
        from faasctl.proxy import ProxyRefused, connected, proxy_for

        host = self._base.hostname or ""
        around = f"If the server is reached without it: export NO_PROXY={host}"
        try:
            proxy = proxy_for(self._base.scheme, host, os.environ)
        except ValueError as error:
            raise self._error(ExitCode.UNREACHABLE, "proxy-failed", f"the proxy: {error}", around) from None
        if proxy is None:
            return None
        try:
            return connected(proxy, self._base, _AGENT, self._connect_seconds)
        except ProxyRefused as error:
            detail = f"the proxy {proxy} does not lead to {self.server.url}: {error}"
        except OSError as error:
            if isinstance(error, getattr(sys.modules.get("ssl"), "SSLError", ())):
                raise
            detail = f"the proxy {proxy} cannot be reached: {error.strerror or error}"
        raise self._error(ExitCode.UNREACHABLE, "proxy-failed", detail, around)

    def _send(
        self,
        connection: Connection,
        method: str,
        target: str,
        body: Body,
        headers: Sent,
        seconds: float | None,
    ) -> Response:
        return connection.request(method, self._base.path + target, headers, body, seconds)

    def _authorization(self) -> dict[str, str]:
        known = self.server.credentials
        if known is None:
            return {}
        token = b2a_base64(f"{known.user}:{known.password}".encode(), newline=False).decode()
        return {"Authorization": f"Basic {token}"}

    def _decode(self, data: bytes) -> dict[str, Any]:
        """Every answer of the API is a JSON object."""
        try:
            value = json.loads(data) if data else {}
        except (ValueError, RecursionError):
            raise self._not_pilotlight("an answer that is not JSON") from None
        if not isinstance(value, dict):
            raise self._not_pilotlight("an answer that is no JSON object")
        return value

    def _objects(self, response: Response) -> Iterator[dict[str, Any]]:
        lines = response.lines()
        while True:
            with self._translated():
                line = next(lines, None)
                if line is None:
                    return
                value = self._decode(line)
            yield value

    # --- failures ------------------------------------------------------------------------------------------------

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Whatever the network does, as one of our errors; never around a caller's own code."""
        url = self.server.url
        try:
            yield
        except CliError:
            self.close()
            raise
        except ConnectionRefusedError:
            raise self._unreachable(f"nothing listens on {url}") from None
        except socket.gaierror as error:
            silent = " (the name service does not answer)" if error.errno == socket.EAI_AGAIN else ""
            raise self._unreachable(f"no machine is called {self._base.hostname!r}{silent}") from None
        except TimeoutError:
            detail = f"{url} took the request and did not answer in time"
            again = "It may be busy; look with: faasctl list"
            raise self._error(ExitCode.TIMED_OUT, "server-silent", detail, again) from None
        except (Cut, ConnectionResetError, BrokenPipeError):
            detail = f"{url} closed the connection in the middle of an answer"
            restart = "A server that crashed comes back by itself; look with: faasctl list"
            raise self._error(ExitCode.FAILED, "server-gone", detail, restart) from None
        except TooLong:
            raise self._not_pilotlight(f"an answer of more than {ANSWER_BYTES >> 20} MiB") from None
        except NotHttp as error:
            if "TLS" in str(error):
                raise self._unreachable(f"{url} speaks TLS; is it https:// instead?") from None
            raise self._not_pilotlight("an answer that is not HTTP/1.1") from None
        except OSError as error:
            raise self._unreachable(self._of_the_network(error)) from None

    def _of_the_network(self, error: OSError) -> str:
        url = self.server.url
        tls = sys.modules.get("ssl")  # imported only when TLS was spoken
        if tls is not None and isinstance(error, tls.SSLCertVerificationError):
            return f"{url} shows a certificate that is not trusted: {error.verify_message}"
        if tls is not None and isinstance(error, tls.SSLError):
            return f"{url} does not speak TLS; is it http:// instead?"
        return f"cannot reach {url}: {error.strerror or error}"

    def _refusal(self, response: Response, data: bytes) -> CliError:
        """A status of 300 or more as an error, in the server's own words where it has some."""
        if response.status == 401:
            return self._credentials_refused()
        try:
            problem = json.loads(data)
        except (ValueError, RecursionError):
            problem = None
        if isinstance(problem, dict) and "detail" in problem:
            found = problem_of(problem)
            return CliError(exit_of(found.slug, response.status), found)
        text = data.decode(errors="replace").strip().partition("\n")[0][:200]
        detail = f"{self.server.url} answered {response.status} {response.reason}{': ' if text else ''}{text}"
        code = _EXIT_OF_STATUS.get(response.status, ExitCode.FAILED)
        return self._error(code, "server-error", detail, "Try again in a moment; the server's log says more.")

    def _credentials_refused(self) -> CliError:
        server, known = self.server, self.server.credentials
        if known is None:
            detail = f"{server.url} wants a password, and none is stored for it"
            origin = f"the address: {server.origin}"
        else:
            detail = f"{server.url} refused the password of user `{known.user}`"
            origin = known.origin
        help_lines = (
            "on the server's machine:  faasctl login --local        (reads its own credential)",
            f"elsewhere:                faasctl login {server.url} --password-stdin",
        )
        problem = Problem(slug="credentials-refused", detail=detail, origin=origin, help=help_lines)
        return CliError(ExitCode.CREDENTIALS, problem)

    def _unreachable(self, detail: str) -> CliError:
        known = [f"or use one you know:  export FAASCTL_SERVER={url}" for url in self.server.others[:_OTHERS]]
        return self._error(
            ExitCode.UNREACHABLE,
            "server-unreachable",
            detail,
            "start one here:       faasctl serve",
            *known,
            "or point to another:  faasctl login https://faas.example.org",
        )

    def _not_pilotlight(self, what: str) -> CliError:
        detail = f"something at {self.server.url} answered, but it is not Pilotlight: {what}"
        wanted = "Give the address of a Pilotlight server: --server URL, or FAASCTL_SERVER."
        return self._error(ExitCode.UNREACHABLE, "not-pilotlight", detail, wanted)

    def _error(self, code: ExitCode, slug: str, detail: str, *help_lines: str) -> CliError:
        self.close()
        return CliError(code, Problem(slug=slug, detail=detail, origin=self.server.origin, help=help_lines))


def exit_of(slug: str, status: int) -> ExitCode:
    """As the table of errors says; by the status for a slug of another release."""
    from pilotlight_problems import rows

    row = rows().get(slug)
    return _EXIT_OF_STATUS.get(status, ExitCode.FAILED) if row is None else ExitCode(row.exit_code)


def problem_of(data: Mapping[str, Any]) -> Problem:
    """An `application/problem+json` object of the server as a Problem."""
    place = None
    if isinstance(data.get("file"), str):
        place = Place(
            file=data["file"],
            line=_whole(data.get("line")),
            column=_whole(data.get("column")),
            source=data["source"] if isinstance(data.get("source"), str) else None,
        )
    hint, state = data.get("hint"), data.get("state")
    return Problem(
        slug=str(data.get("type", "internal")).rpartition("/")[2] or "internal",
        detail=str(data.get("detail", "the server gave no reason")),
        place=place,
        help=tuple(str(hint).splitlines()) if hint else (),
        state=str(state) if state else None,
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _what_answered(response: Response) -> str:
    server, place = response.headers.get("Server"), response.headers.get("Location")
    return (
        f"{response.status} {response.reason}"
        + (f", Server: {server}" if server else "")
        + (f", which leads to {place}" if place else "")
    )
