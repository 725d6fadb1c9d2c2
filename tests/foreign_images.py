"""Images that other people would have made: a stand-in for OpenFaaS' watchdogs, and a web server that has never heard
of functions. Written here, built without a network, on a base image that is there."""

from functools import cache

from tests.engines import BASE_IMAGE, context, docker_engine

WATCHDOG_IMAGE = "pilotlight-test-foreign-watchdog:1"
SERVER_IMAGE = "pilotlight-test-foreign-server:1"

_WATCHDOG = b'''
"""As the classic watchdog: of /_/ it has /_/health alone, a program runs for each request, and it goes on for ten
seconds after SIGTERM unless told otherwise. With mode=http as the other one: up before the server behind it."""
import http.client, os, signal, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def log(text):
    print(time.strftime("%Y/%m/%d %H:%M:%S"), text, file=sys.stderr, flush=True)

class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        if path == "/_/health":
            self.say(200 if os.path.exists("/tmp/.lock") else 503, b"OK")
        elif os.environ.get("mode") == "http":
            self.hand_on(body)
        else:
            self.run(path, query, body)
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def run(self, path, query, body):
        log("Forking fprocess.")
        head = {"Http_" + name.replace("-", "_"): value for name, value in self.headers.items()}
        head |= {"Http_Method": self.command, "Http_Path": path, "Http_Query": query}
        began = time.monotonic()
        command = os.environ["fprocess"].split(" ")
        ran = subprocess.run(command, input=body, stdout=-1, stderr=subprocess.STDOUT, env=os.environ | head)
        if ran.returncode:
            self.say(500, b"exit status %d\\n" % ran.returncode + ran.stdout)
        else:
            self.say(200, ran.stdout)
            log(f"Wrote {len(ran.stdout)} Bytes - Duration: {time.monotonic() - began:f}s")

    def hand_on(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", 5000)
        try:
            connection.request(self.command, self.path, body)
            answer = connection.getresponse()
            self.say(answer.status, answer.read())
        except OSError as error:
            log(f"Upstream HTTP request error: {error}")
            self.say(500, b"", "of-watchdog")

    def say(self, status, body, internal=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if internal:
            self.send_header("X-OpenFaaS-Internal", internal)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

def leave(*_):
    log("SIGTERM: no new connections in " + interval)
    os.remove("/tmp/.lock")
    time.sleep(float(interval[:-2]) / 1000 if interval.endswith("ms") else float(interval.rstrip("s")))
    os._exit(0)

interval = os.environ.get("healthcheck_interval", "10s")
signal.signal(signal.SIGTERM, leave)
if os.environ.get("mode") == "http":
    subprocess.Popen(os.environ["fprocess"].split(" "))
open("/tmp/.lock", "w").close()
ThreadingHTTPServer(("", 8080), Server).serve_forever()
'''
_LATE = b"""
import http.server, time
time.sleep(0.7)
http.server.ThreadingHTTPServer(("127.0.0.1", 5000), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
_ENTRY = b"""#!/bin/sh
[ -z "$WRITES" ] || echo here > "$WRITES" || exit 2
[ -z "$OWNS" ] || chown nobody "$OWNS" || exit 2
exec python3 -u /watchdog.py
"""


@cache
def foreign_images() -> None:
    watchdog = f'FROM {BASE_IMAGE}\nCOPY watchdog.py late.py entry /\nENV fprocess=cat\nCMD ["sh", "/entry"]\n'
    files = {"watchdog.py": _WATCHDOG, "late.py": _LATE, "entry": _ENTRY}
    _build(WATCHDOG_IMAGE, files | {"Dockerfile": watchdog.encode()})
    server = f'FROM {BASE_IMAGE}\nCMD ["python3", "-u", "-m", "http.server", "8080", "--directory", "/etc"]\n'
    _build(SERVER_IMAGE, {"Dockerfile": server.encode()})


def _build(tag: str, files: dict[str, bytes]) -> None:
    def verb(client: object) -> bytes:
        build = client.build(fileobj=context(files), custom_context=True, tag=tag, rm=True)  # type: ignore[attr-defined]
        return b"".join(build)

    said = docker_engine().do(verb)
    assert b"Successfully" in said, said.decode()
