"""HTTP to one server: the identity check, credentials, and every way in which a server can fail to answer.

The first request on a connection asks /api/v1/info, without the password: what is not Pilotlight never sees it.
"""

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

from faasctl import __version__
from faasctl.config import Server
from faasctl.errors import CliError, ExitCode, Place, Problem

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 30.0
Body = bytes | IO[bytes] | Iterator[bytes] | None
_CLOSED = (http.client.IncompleteRead, ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)
_EXIT_OF_STATUS = {
    401: ExitCode.CREDENTIALS,
    403: ExitCode.CREDENTIALS,
    404: ExitCode.NOT_FOUND,
    408: ExitCode.TIMED_OUT,
    504: ExitCode.TIMED_OUT,
}


class Client:
    """One connection to one server, made at the first request."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._connection: http.client.HTTPConnection | None = None
        self._base = urlsplit(server.url)

    # --- the API -------------------------------------------------------------------------------------------------

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
            return self._decode(response.read())

    @contextmanager
    def lines(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = ANSWER_SECONDS,
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """A call that answers with a stream of JSON objects; `seconds` bounds the silence between two of them."""
        response = self._open(method, path, query, body, headers or {}, seconds)
        try:
            yield self._objects(response)
        finally:
            if not response.isclosed():
                self.close()

    def function_url(self, name: str) -> str:
        return f"{self.server.url}/function/{quote(name)}"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- a function ----------------------------------------------------------------------------------------------

    def call(
        self, method: str, path: str, *, headers: Mapping[str, str], body: Body, seconds: float | None
    ) -> http.client.HTTPResponse:
        """A request to a function: no credentials, and whatever it answers is an answer."""
        with self._translated():
            return self._send(self._connect(), method, path, body, headers, seconds)

    def blocks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """The body as it arrives, so that a stream is seen while it runs."""
        while True:
            with self._translated():
                block = response.read1(1 << 16)
                if not block and response.length:
                    raise http.client.IncompleteRead(b"", response.length)
            if not block:
                return
            yield block

    # --- how ---------------------------------------------------------------------------------------------------

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        body: Body,
        headers: Mapping[str, str],
        seconds: float | None,
    ) -> http.client.HTTPResponse:
        """Ask the API; an answer that is a refusal becomes a CliError."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given)}" if given else path
        with self._translated():
            connection = self._identified()
            response = self._send(connection, method, target, body, {**headers, **self._authorization()}, seconds)
            if response.status >= 300:
                raise self._refusal(response, response.read(1 << 20))
            return response

    def _identified(self) -> http.client.HTTPConnection:
        """A connection to something that says it is Pilotlight."""
        if self._connection is not None:
            return self._connection
        connection = self._connect()
        response = self._send(connection, "GET", "/api/v1/info", None, {}, ANSWER_SECONDS)
        data = response.read(1 << 20)
        if response.status >= 500:
            raise self._refusal(response, data)
        try:
            info = json.loads(data) if response.status == 200 else None
        except (ValueError, RecursionError):
            info = None
        if not isinstance(info, dict) or info.get("name") != "pilotlight":
            raise self._not_pilotlight(_what_answered(response))
        self._connection = connection
        return connection

    def _connect(self) -> http.client.HTTPConnection:
        base = self._base
        kind = http.client.HTTPSConnection if base.scheme == "https" else http.client.HTTPConnection
        connection = kind(base.hostname or "", base.port, timeout=CONNECT_SECONDS, blocksize=1 << 16)
        try:
            connection.connect()
        except TimeoutError:
            raise self._unreachable(f"{self.server.url} did not answer within {CONNECT_SECONDS:g} s") from None
        return connection

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: Body,
        headers: Mapping[str, str],
        seconds: float | None,
    ) -> http.client.HTTPResponse:
        if connection.sock is None:  # the server closed it after the last answer
            connection.timeout = CONNECT_SECONDS
            connection.connect()
        connection.sock.settimeout(seconds)
        given = {"User-Agent": f"faasctl/{__version__}", **headers}
        try:
            connection.request(method, self._base.path + target, body=body, headers=given)
        except (BrokenPipeError, ConnectionResetError):
            # The server may have refused the rest of a large body; then its answer is there to be read.
            return connection.getresponse()
        return connection.getresponse()

    def _authorization(self) -> dict[str, str]:
        known = self.server.credentials
        if known is None:
            return {}
        token = base64.b64encode(f"{known.user}:{known.password}".encode()).decode()
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

    def _objects(self, response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
        while True:
            with self._translated():
                line = response.readline(1 << 20)
                if not line:
                    return
                if not line.endswith(b"\n"):  # http.client takes a torn stream for the end of one
                    raise http.client.IncompleteRead(line)
                value = self._decode(line)
            yield value

    # --- failures ------------------------------------------------------------------------------------------------

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Whatever the network does, as one of our errors; never around a caller's own code. Nothing is sent twice."""
        url = self.server.url
        try:
            yield
        except CliError:
            self.close()
            raise
        except ConnectionRefusedError:
            raise self._unreachable(f"nothing listens on {url}") from None
        except socket.gaierror:
            raise self._unreachable(f"no machine is called {self._base.hostname!r}") from None
        except ssl.SSLCertVerificationError as error:
            raise self._unreachable(f"{url} shows a certificate that is not trusted: {error.verify_message}") from None
        except ssl.SSLError:
            raise self._unreachable(f"{url} does not speak TLS; is it http:// instead?") from None
        except TimeoutError:
            detail = f"{url} took the request and did not answer in time"
            raise self._error(ExitCode.TIMED_OUT, "server-silent", detail) from None
        except _CLOSED:
            detail = f"{url} closed the connection in the middle of an answer"
            restart = "A server that crashed comes back by itself; look with: faasctl list"
            raise self._error(ExitCode.FAILED, "server-gone", detail, restart) from None
        except (http.client.HTTPException, ValueError):
            raise self._not_pilotlight("an answer that is not HTTP/1.1") from None
        except OSError as error:
            raise self._unreachable(f"cannot reach {url}: {error.strerror or error}") from None

    def _refusal(self, response: http.client.HTTPResponse, data: bytes) -> CliError:
        """A status of 300 or more as an error, in the server's own words where it has some."""
        if response.status == 401:
            return self._credentials_refused()
        code = _EXIT_OF_STATUS.get(response.status, ExitCode.FAILED)
        try:
            problem = json.loads(data)
        except (ValueError, RecursionError):
            problem = None
        if isinstance(problem, dict) and "detail" in problem:
            return CliError(code, problem_of(problem))
        text = data.decode(errors="replace").strip().partition("\n")[0][:200]
        detail = f"{self.server.url} answered {response.status} {response.reason}{': ' if text else ''}{text}"
        return self._error(code, "server-error", detail, "Try again in a moment; the server's log says more.")

    def _credentials_refused(self) -> CliError:
        server, known = self.server, self.server.credentials
        if known is None:
            detail = f"{server.url} wants a password, and none is stored for it"
            origin = f"the address: {server.origin}"
        else:
            detail = f"{server.url} refused the password of user `{known.user}`"
            origin = known.origin
        scheme, _, rest = server.url.partition("://")
        help_lines = (
            "on the server's machine:  faasctl serve    (stores its login for the user who starts it)",
            f"elsewhere:                export FAASCTL_SERVER={scheme}://USER:PASSWORD@{rest}",
        )
        problem = Problem(slug="credentials-refused", detail=detail, origin=origin, help=help_lines)
        return CliError(ExitCode.CREDENTIALS, problem)

    def _unreachable(self, detail: str) -> CliError:
        return self._error(
            ExitCode.UNREACHABLE,
            "server-unreachable",
            detail,
            "start one here:       faasctl serve",
            "or point to another:  export FAASCTL_SERVER=https://faas.example.org",
        )

    def _not_pilotlight(self, what: str) -> CliError:
        detail = f"something at {self.server.url} answered, but it is not Pilotlight: {what}"
        wanted = "Give the address of a Pilotlight server: --server URL, or FAASCTL_SERVER."
        return self._error(ExitCode.UNREACHABLE, "not-pilotlight", detail, wanted)

    def _error(self, code: ExitCode, slug: str, detail: str, *help_lines: str) -> CliError:
        self.close()
        return CliError(code, Problem(slug=slug, detail=detail, origin=self.server.origin, help=help_lines))


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


def _what_answered(response: http.client.HTTPResponse) -> str:
    server = response.headers.get("Server")
    return f"{response.status} {response.reason}" + (f", Server: {server}" if server else "")
