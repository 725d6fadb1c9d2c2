"""Mistakes that users make, each with what they must be told: the rows of tests/e2e/test_bad_input.py.

A project of one function, `kept`, is deployed. A row changes its files or types something else. `exit` and `status`
are not in the rows: they are the error table's, and a row that says another one gives its reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

HANDLER = "def handle(event, context):\n    return 'kept'\n"
STACK = """\
version: 1.0
provider:
  name: openfaas
functions:
  kept:
    lang: python3-http
    handler: ./kept
    image: kept:latest
"""
PROJECT = {"stack.yaml": STACK, "kept/handler.py": HANDLER, "kept/requirements.txt": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """Something typed in the project's folder."""

    name: str
    slug: str
    says: tuple[str, ...]
    """What the error must hold, each of them."""
    argv: tuple[str, ...] = ("up",)
    files: Mapping[str, str | None] = field(default_factory=dict)
    """Beside those of the project, or in their place; None takes one away, `-> X` makes a link to X."""
    env: Mapping[str, str] = field(default_factory=dict)
    """`{url}`, `{authority}` and `{folder}` are filled in."""
    exit: int | None = None
    errors: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request to the server."""

    name: str
    slug: str
    says: tuple[str, ...]
    path: str
    method: str = "GET"
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    auth: bool = True


def entry(*lines: str) -> dict[str, str | None]:
    """The stack file with more lines in `kept`."""
    return {"stack.yaml": STACK + "".join(f"    {line}\n" for line in lines)}


def handler(text: str) -> dict[str, str | None]:
    return {"kept/handler.py": text}


def requirements(text: str) -> dict[str, str | None]:
    return {"kept/requirements.txt": text, "kept/handler.py": HANDLER + "# changed\n"}


STACK_FILE = (
    Typed(
        name="misspelt key",
        slug="stack-unknown-key",
        files=entry("enviroment: {A: b}"),
        says=("stack.yaml:9:5", "9 |     enviroment: {A: b}", "did you mean `environment`"),
    ),
    Typed(
        name="misspelt top-level key",
        slug="stack-unknown-key",
        files={"stack.yaml": STACK.replace("functions:", "function:")},
        says=("stack.yaml:4:1", "did you mean `functions`?"),
        errors=0,
    ),
    Typed(
        name="key twice",
        slug="stack-duplicate-key",
        files=entry("image: other"),
        says=("stack.yaml:9:5", "image", "line 8"),
    ),
    Typed(
        name="function twice",
        slug="stack-duplicate-key",
        files={"stack.yaml": STACK + STACK.partition("functions:\n")[2]},
        says=("`kept`", "line 5"),
        errors=0,
    ),
    Typed(
        name="word for a number",
        slug="stack-type",
        files=entry("concurrency: four"),
        says=("stack.yaml:9:18", "a whole number from 1 to 1000"),
    ),
    Typed(
        name="number out of range",
        slug="stack-type",
        files=entry("concurrency: 0"),
        says=("concurrency", "from 1 to 1000"),
    ),
    Typed(
        name="list for a mapping",
        slug="stack-type",
        files=entry("environment: [A=b]"),
        says=("environment", "a mapping of variables to values"),
    ),
    Typed(name="amount of memory", slug="stack-type", files=entry("limits: {memory: 128Q}"), says=("128Mi",)),
    Typed(name="duration", slug="stack-type", files=entry("timeout: soon"), says=("timeout", '"30s"')),
    Typed(
        name="variable's name", slug="stack-type", files=entry("environment: {1A: b}"), says=("1A", "no digit first")
    ),
    Typed(name="fewest above most", slug="stack-scale", files=entry("scale: {min: 5, max: 2}"), says=("min", "max")),
    Typed(
        name="function's name",
        slug="stack-type",
        files={"stack.yaml": STACK.replace("  kept:", "  Kept_One:")},
        says=("Kept_One", "a-z, 0-9 and -"),
    ),
    Typed(
        name="several at once",
        slug="stack-unknown-key",
        files=entry("enviroment: {A: b}", "concurrency: four"),
        says=("error[stack-type]", "2 errors in stack.yaml"),
        errors=2,
    ),
    Typed(name="tab", slug="stack-syntax", files=entry("\tfprocess: x"), says=("stack.yaml:9", "tab")),
    Typed(name="open quote", slug="stack-syntax", files=entry('fprocess: "x'), says=("stack.yaml:",)),
    Typed(name="empty stack file", slug="stack-empty", files={"stack.yaml": ""}, says=("stack.yaml",)),
    Typed(name="no stack file", slug="stack-missing", files={"stack.yaml": None}, says=("faasctl new",)),
    Typed(name="stack file elsewhere", slug="stack-missing", argv=("up", "-f", "nosuch.yaml"), says=("nosuch.yaml",)),
    Typed(
        name="handler's folder",
        slug="stack-handler",
        files={"stack.yaml": STACK.replace("./kept", "./kpet")},
        says=("stack.yaml:7", "kpet"),
    ),
    Typed(
        name="copy from outside",
        slug="stack-copy",
        files={"stack.yaml": STACK + "configuration:\n  copy: [../secret]\n"},
        says=("../secret",),
    ),
    Typed(
        name="environment file",
        slug="stack-environment-file",
        files=entry("environment_file: [env.yaml]"),
        says=("env.yaml",),
    ),
    Typed(name="open brace", slug="stack-variable", files=entry("fprocess: ${HOME"), says=("stack.yaml:9", "${")),
    Typed(
        name="version", slug="stack-type", files={"stack.yaml": STACK.replace("1.0", "2.0")}, says=("version", "1.0")
    ),
    Typed(
        name="no language",
        slug="stack-missing-key",
        files={"stack.yaml": STACK.replace("    lang: python3-http\n", "")},
        says=("lang",),
    ),
    Typed(
        name="language",
        slug="template-not-found",
        files={"stack.yaml": STACK.replace("python3-http", "python3-htpp")},
        says=("Did you mean `python3-http`?",),
    ),
    Typed(name="function not in it", slug="stack-no-function", argv=("up", "kpet"), says=("kpet", "kept")),
)

_FOREIGN = {"other/template/x/template.yml": "language: x\n", "other/template/x/Dockerfile": "FROM scratch\n"}
_PULL = ("template", "pull", "other")

TEMPLATES = (
    Typed(
        name="new with a misspelt template",
        slug="template-unknown",
        argv=("new", "other", "--lang", "nodejs"),
        says=("`nodejs`; did you mean `node`?", "python3-http", "faasctl template pull URL"),
    ),
    Typed(
        name="templates from nowhere", slug="template-unreachable", argv=(*_PULL[:2], "./nowhere"), says=("./nowhere",)
    ),
    Typed(
        name="templates over plain http",
        slug="template-source",
        argv=(*_PULL[:2], "http://templates.example.org/a.zip"),
        says=("must be an https:// address",),
    ),
    Typed(
        name="templates from a folder without any", slug="template-source", argv=(*_PULL[:2], "kept"),
        says=("kept has no template", "template.yml"),
    ),
    Typed(
        name="templates from an archive that is none", slug="template-source", files={"a.zip": "no"},
        argv=(*_PULL[:2], "a.zip"), says=("a.zip is no archive",),
    ),
    Typed(
        name="a template that is there", slug="template-exists", argv=_PULL,
        files={**_FOREIGN, "template/x/Dockerfile": "FROM scratch\n"}, says=("template/x is there", "--overwrite"),
    ),
    Typed(
        name="a template without a Dockerfile", slug="template-wrong", argv=_PULL,
        files={"other/template/x/template.yml": "language: x\n"}, says=("template x has no Dockerfile",),
    ),
    Typed(
        name="a template with a link", slug="template-source", argv=_PULL,
        files={**_FOREIGN, "other/template/x/link": "-> /etc/passwd"}, says=("holds a link, link",),
    ),
    Typed(
        name="a template.yml that is none", slug="template-wrong", argv=("template", "list"),
        files={"template/x/template.yml": "- a\n"}, says=("template/x/template.yml is wrong: it must be a mapping",),
    ),
    Typed(
        name="templates without git", slug="git-missing", argv=(*_PULL[:2], "https://git.example.org/t.git"),
        env={"PATH": "/nowhere"}, says=("is a git repository", ".zip or .tar.gz"),
    ),
    Typed(
        name="templates of a stack that names none", slug="template-source", argv=(*_PULL[:2], "stack"),
        says=("stack.yaml names no templates", "source:"),
    ),
    Typed(
        name="a stack's template without a name", slug="stack-template",
        files={"stack.yaml": STACK + "configuration:\n  templates: [{source: x}]\n"}, says=("stack.yaml:10",),
    ),
    Typed(
        name="a build secret that is not there", slug="stack-build-secret", files=entry("build_secrets: {pip: token}"),
        says=("stack.yaml:9", "build secret pip", "there is no such file"),
    ),
    Typed(
        name="a project's template for a server of processes", slug="template-needs-images",
        files={"stack.yaml": STACK.replace("python3-http", "x"), **{k[6:]: v for k, v in _FOREIGN.items()}},
        says=("template x makes", "`--provider docker`"),
    ),
    Typed(
        name="a build argument without a value", slug="usage", argv=("up", "--build-arg", "A"), says=("NAME=VALUE",)
    ),
    Typed(
        name="a build argument where nothing is built", slug="usage",
        argv=("deploy", "--name", "kept", "--image", "x", "-b", "A=1"), says=("with --image nothing is built",),
    ),
    Typed(
        name="a template's command that is none", slug="usage", argv=("template", "push"), says=("list, pull",)
    ),
)  # fmt: skip

HANDLERS = (
    Typed(
        name="empty folder",
        slug="source-refused",
        files={"kept/handler.py": None, "kept/requirements.txt": None},
        says=("kept has no files", "correct `handler:` in stack.yaml", "revision 1 keeps serving"),
    ),
    Typed(
        name="syntax",
        slug="handler-syntax",
        files=handler("def handle(event, context):\n    return (\n"),
        says=("kept/handler.py:2", "'(' was never closed", "revision 1 keeps serving"),
    ),
    Typed(
        name="handle misspelt",
        slug="handler-missing",
        files=handler("def handler(event, context):\n    return ''\n"),
        says=("`handle`", "`handler`", "revision 1 keeps serving"),
    ),
    Typed(
        name="no handler.py",
        slug="handler-missing",
        files={"kept/handler.py": None, "kept/main.py": HANDLER},
        says=("handler.py", "main.py"),
    ),
    Typed(
        name="missing module",
        slug="import-failed",
        files=handler("import nosuchmodule\n" + HANDLER),
        says=("kept/handler.py:1", "nosuchmodule", "requirements.txt", "revision 1 keeps serving"),
    ),
    Typed(
        name="module under another name",
        slug="import-failed",
        files=handler("import cv2\n" + HANDLER),
        says=("opencv-python-headless",),
    ),
    Typed(
        name="raises at import",
        slug="load-failed",
        files=handler("x = 1 / 0\n" + HANDLER),
        says=("ZeroDivisionError", "kept/handler.py:1", "revision 1 keeps serving"),
    ),
    Typed(
        name="init raises",
        slug="init-failed",
        files=handler("import os\n\ndef init(context):\n    os.environ['MODEL_PATH']\n\n" + HANDLER),
        says=("KeyError", "MODEL_PATH", "kept/handler.py:4", "revision 1 keeps serving"),
    ),
    Typed(
        name="one argument",
        slug="load-failed",
        files=handler("def handle(event):\n    return ''\n"),
        says=("two arguments: (event, context)",),
    ),
    Typed(
        name="leaves the process",
        slug="crashed-at-start",
        files=handler("import os\nos._exit(3)\n" + HANDLER),
        says=("exited with code 3", "revision 1 keeps serving"),
    ),
    Typed(
        name="crashes in native code",
        slug="crashed-at-start",
        files=handler("import os\nos.kill(os.getpid(), 11)\n" + HANDLER),
        says=("SIGSEGV", "revision 1 keeps serving"),
    ),
    Typed(
        name="link out of the folder",
        slug="source-refused",
        files={"kept/passwords": "-> /etc/passwd"},
        says=("kept/passwords",),
    ),
)

REQUIREMENTS = (
    Typed(
        name="package",
        slug="requirement-not-found",
        files=requirements("# mine\nnosuch-package==1.0\n"),
        says=("kept/requirements.txt:2", "nosuch-package", "revision 1 keeps serving"),
    ),
    Typed(
        name="package's version",
        slug="requirement-no-version",
        files=requirements("greet==9.0\n"),
        says=("kept/requirements.txt:1", "greet"),
    ),
    Typed(
        name="contradiction",
        slug="requirement-conflict",
        files=requirements("greet==2.0\npolite==1.0\n"),
        says=("polite", "greet"),
    ),
    Typed(
        name="build from source",
        slug="requirement-build-failed",
        files=requirements("trouble==1.0\n"),
        says=("kept/requirements.txt:1", "trouble"),
    ),
    Typed(
        name="no requirement",
        slug="invalid-requirements",
        files=requirements("greet=1.0\n"),
        says=("kept/requirements.txt:1",),
    ),
    Typed(
        name="option of pip",
        slug="invalid-requirements",
        files=requirements("--index-url https://packages.example\n"),
        says=("kept/requirements.txt:1", "--index-url"),
    ),
    Typed(name="path", slug="invalid-requirements", files=requirements("./local\n"), says=("./local",)),
)

NAMES = (
    Typed(name="invoke", slug="function-not-found", argv=("invoke", "kpet"), says=("`kpet`", "`kept`")),
    Typed(name="describe", slug="function-not-found", argv=("describe", "kpet"), says=("`kpet`", "`kept`")),
    Typed(name="remove", slug="function-not-found", argv=("remove", "--yes", "kpet"), says=("kpet",)),
    Typed(name="logs", slug="function-not-found", argv=("logs", "kpet"), says=("kpet",)),
    Typed(name="scale", slug="function-not-found", argv=("scale", "kpet", "1"), says=("kpet",)),
    Typed(name="bad name for a new one", slug="usage", argv=("new", "Not_A_Name"), says=("Not_A_Name", "a-z, 0-9")),
    Typed(name="new over an old one", slug="folder-exists", argv=("new", "kept"), says=("kept",)),
    Typed(
        name="secret that is not there",
        slug="secret-not-found",
        files=entry("secrets: [api-key]"),
        says=("api-key", "faasctl secret set", "revision 1 keeps serving"),
    ),
    Typed(name="secret to remove", slug="secret-not-found", argv=("secret", "remove", "nosuch"), says=("nosuch",)),
    Typed(
        name="image of a registry",
        slug="invalid-spec",
        files={"stack.yaml": "functions:\n  other:\n    image: registry.example/other:1\n"},
        argv=("deploy",),
        says=("image",),
    ),
    Typed(name="error's name", slug="usage", argv=("explain", "handler-sintax"), says=("`handler-syntax`",)),
)

FLAGS = (
    Typed(name="command", slug="usage", argv=("deplyo",), says=("did you mean `deploy`?",)),
    Typed(name="habit", slug="usage", argv=("ps",), says=("faasctl list",)),
    Typed(name="option", slug="usage", argv=("up", "--filtre", "x"), says=("--filtre", "--filter")),
    Typed(
        name="missing argument", slug="usage", argv=("invoke",), says=("NAME", "For example: faasctl invoke", "--help")
    ),
    Typed(
        name="secrets that are not there",
        slug="secret-not-found",
        argv=("secret", "remove", "one", "two"),
        says=("no secret one", "no secret two", "Removed: none. Not removed: one, two."),
        errors=2,
    ),
    Typed(
        name="image of an unknown function",
        slug="stack-no-function",
        argv=("deploy", "shop", "--image", "a/b:1"),
        says=("stack.yaml has no function `shop`", "It has: kept", "faasctl deploy --name shop --image a/b:1"),
    ),
    Typed(
        name="login to another program",
        slug="not-pilotlight",
        argv=("login", "{other}", "--password", "x"),
        says=("not Pilotlight", "If that is a registry of images: docker login 127.0.0.1:"),
    ),
    Typed(name="two bodies", slug="usage", argv=("invoke", "kept", "-d", "x", "-f", "stack.yaml"), says=("-d", "-f")),
    Typed(name="body's file", slug="usage", argv=("invoke", "kept", "-f", "nosuch.png"), says=("nosuch.png",)),
    Typed(name="header", slug="usage", argv=("invoke", "kept", "-H", "nocolon"), says=("nocolon", "KEY")),
    Typed(name="variable", slug="usage", argv=("up", "-e", "NOVALUE"), says=("NOVALUE", "KEY=VALUE")),
    Typed(name="since", slug="usage", argv=("logs", "kept", "--since", "yesterday"), says=("yesterday", '"10m"')),
    Typed(name="replicas", slug="usage", argv=("scale", "kept", "many"), says=("many",)),
    Typed(name="replicas below zero", slug="usage", argv=("scale", "kept", "--", "-1"), says=("-1",)),
    Typed(name="port", slug="usage", argv=("serve", "--port", "99999"), says=("99999",)),
)

SERVERS = (
    Typed(
        name="nothing listens",
        slug="server-unreachable",
        argv=("list",),
        env={"FAASCTL_SERVER": "http://127.0.0.1:9"},
        says=("http://127.0.0.1:9", "faasctl serve", "from: the environment variable FAASCTL_SERVER"),
    ),
    Typed(
        name="no such host",
        slug="server-unreachable",
        argv=("list",),
        env={"FAASCTL_SERVER": "http://nosuch.invalid"},
        says=("nosuch.invalid", "from: the environment variable FAASCTL_SERVER"),
    ),
    Typed(
        name="TLS to a plain port",
        slug="server-unreachable",
        argv=("list",),
        env={"FAASCTL_SERVER": "https://{authority}"},
        says=("does not speak TLS", "http://"),
    ),
    Typed(
        name="no address",
        slug="usage",
        argv=("list",),
        env={"FAASCTL_SERVER": "ftp://127.0.0.1"},
        says=("ftp://127.0.0.1", "FAASCTL_SERVER"),
    ),
    Typed(
        name="another program",
        slug="not-pilotlight",
        argv=("list",),
        env={"FAASCTL_SERVER": "{other}"},
        says=("not Pilotlight", "SimpleHTTP"),
    ),
    Typed(
        name="wrong password",
        slug="credentials-refused",
        argv=("list",),
        env={"FAASCTL_SERVER": "http://admin:wrong@{authority}"},
        says=("`admin`", "from: ", "faasctl login"),
    ),
    Typed(
        name="no password",
        slug="credentials-refused",
        argv=("list",),
        env={"XDG_CONFIG_HOME": "{folder}/none"},
        says=("password", "faasctl login"),
    ),
    Typed(
        name="damaged logins",
        slug="credentials-unreadable",
        argv=("list",),
        files={"config/pilotlight/credentials.json": "{"},
        env={"XDG_CONFIG_HOME": "{folder}/config"},
        says=("credentials.json",),
    ),
)

SERVING = (
    Typed(
        name="port in use",
        slug="port-in-use",
        argv=("serve", "--data-dir", "data", "--metrics-port", "0", "--port", "{port}"),
        says=("{port}", "--port"),
    ),
    Typed(
        name="another server's data",
        slug="data-dir-in-use",
        argv=("serve", "--data-dir", "{data}", "--metrics-port", "0", "--port", "0"),
        says=("another server", "--data-dir"),
    ),
    Typed(
        name="file for a folder",
        slug="data-dir-unusable",
        argv=("serve", "--data-dir", "stack.yaml/x", "--metrics-port", "0", "--port", "0"),
        says=("stack.yaml/x", "--data-dir"),
    ),
    Typed(
        name="setting",
        slug="invalid-setting",
        argv=("serve", "--data-dir", "data", "--metrics-port", "0", "--port", "0", "--set", "pool.spare=1"),
        says=("pool.spare", "`pool.spares`"),
    ),
    Typed(
        name="setting's kind",
        slug="invalid-setting",
        argv=("serve", "--data-dir", "data", "--metrics-port", "0", "--port", "0", "--set", "pool.spares=few"),
        says=("pool.spares", "few"),
    ),
    Typed(
        name="interpreter",
        slug="invalid-setting",
        argv=("serve", "--data-dir", "data", "--metrics-port", "0", "--port", "0", "--python", "/nosuch/python"),
        says=("/nosuch/python", "--python"),
    ),
    Typed(
        name="provider",
        slug="invalid-setting",
        argv=("serve", "--data-dir", "data", "--metrics-port", "0", "--port", "0", "--provider", "proces"),
        says=("there is no provider 'proces'; did you mean `process`?", "process, docker"),
    ),
    Typed(
        name="provider of dev",
        slug="usage",
        argv=("dev", "--provider", "docker"),
        says=("dev runs functions as processes", "faasctl serve --provider docker"),
    ),
)

PUSHED = {"stack.yaml": STACK.replace("kept:latest", "registry.example/team/kept:1")}

PUSHING = (
    Typed(
        name="push to nowhere",
        slug="push-no-registry",
        argv=("push",),
        says=("kept", "`image: kept:latest` names no registry", "registry.example.com/"),
    ),
    Typed(
        name="push without a name",
        slug="push-no-registry",
        argv=("push",),
        files={"stack.yaml": STACK.replace("    image: kept:latest\n", "")},
        says=("kept", "no `image:`"),
    ),
    Typed(
        name="push in upper case",
        slug="image-name",
        argv=("publish",),
        files={"stack.yaml": STACK.replace("kept:latest", "registry.example/Team/kept:V1")},
        says=("lower case", "registry.example/team/kept:V1"),
    ),
    Typed(
        name="push from a server of processes",
        slug="not-supported",
        argv=("push",),
        files=PUSHED,
        says=("as processes", "--provider docker"),
    ),
    Typed(
        name="push of a ready-made image",
        slug="nothing-to-build",
        argv=("push", "other"),
        files={"stack.yaml": STACK + "  other:\n    image: registry.example/other:1\n"},
        says=("other is ready-made", "faasctl deploy"),
    ),
    Typed(
        name="push with a broken file of logins",
        slug="docker-config-unreadable",
        argv=("push",),
        files=PUSHED | {"config.json": "{"},
        env={"DOCKER_CONFIG": "{folder}"},
        says=("config.json", "not JSON", "docker login"),
    ),
    Typed(
        name="push with a helper that is not there",
        slug="docker-config-unreadable",
        argv=("push",),
        files=PUSHED | {"config.json": '{"credsStore": "nowhere"}'},
        env={"DOCKER_CONFIG": "{folder}"},
        says=("docker-credential-nowhere", "PATH"),
    ),
    Typed(name="push with a tag of no kind", slug="usage", argv=("push", "--tag", "shaa"), says=("shaa", "digest")),
    Typed(
        name="push of an unknown function",
        slug="stack-no-function",
        argv=("push", "kpet"),
        files=PUSHED,
        says=("`kpet`", "did you mean `kept`"),
    ),
    Typed(
        name="publish for a platform that is none",
        slug="usage",
        argv=("publish", "--platforms", "amd64"),
        files=PUSHED,
        says=("amd64", "linux/amd64"),
    ),
)

REQUESTS = (
    Sent(name="unknown function", slug="function-not-found", path="/function/kpet", auth=False, says=("`kept`",)),
    Sent(name="unknown path", slug="path-not-found", path="/functions/kept", auth=False, says=("/function/NAME",)),
    Sent(name="inner path", slug="path-not-found", path="/function/kept/_/metrics", auth=False, says=("/_/",)),
    Sent(name="method", slug="method-not-allowed", method="TRACE", path="/function/kept", auth=False, says=("TRACE",)),
    Sent(
        name="body", slug="body-too-large", method="POST", path="/function/kept", auth=False,
        body=b"x" * (16 * 2**20 + 1),
        says=("bytes", "body_limit"),
    ),
    Sent(name="asynchronous call", slug="not-supported", method="POST", path="/async-function/kept", auth=False,
        body=b"", says=("async",)),
    Sent(name="no password", slug="credentials-refused", path="/api/v1/functions", auth=False, says=("credentials",)),
    Sent(
        name="bearer token", slug="credentials-refused", path="/api/v1/functions", auth=False,
        headers={"Authorization": "Bearer x"}, says=("bearer",),
    ),
    Sent(
        name="page of another site", slug="forbidden", method="DELETE", path="/api/v1/functions/kept",
        headers={"Origin": "http://evil.example"}, says=("another site",),
    ),
    Sent(name="no JSON", slug="bad-request", method="PUT", path="/api/v1/functions/kept", body=b"{", says=("JSON",)),
    Sent(
        name="misspelt field", slug="invalid-spec", method="PUT", path="/api/v1/functions/kept",
        body=b'{"image": "x", "concurency": 1}', says=("concurency", "`concurrency`"),
    ),
    Sent(
        name="wrong type", slug="invalid-spec", method="PUT", path="/api/v1/functions/kept",
        body=b'{"image": "x", "concurrency": "4"}', says=("concurrency",),
    ),
    Sent(
        name="unknown bundle", slug="bundle-not-found", method="PUT", path="/api/v1/functions/kept",
        body=b'{"image": "bundle/kept@sha256:%s"}' % (b"0" * 64), says=("bundle", "faasctl build"),
    ),
    Sent(
        name="two names", slug="invalid-spec", method="PUT", path="/api/v1/functions/kept",
        body=b'{"image": "x", "name": "other"}', says=("name",),
    ),
    Sent(name="remove unknown", slug="function-not-found", method="DELETE", path="/api/v1/functions/kpet",
        says=("kpet",)),
    Sent(
        name="scale below zero", slug="bad-request", method="POST", path="/api/v1/functions/kept/scale",
        body=b'{"replicas": -1}', says=("replicas",),
    ),
    Sent(name="unknown API path", slug="path-not-found", path="/api/v1/function", says=("/api/v1/functions",)),
    Sent(name="API method", slug="method-not-allowed", method="PATCH", path="/api/v1/functions", says=("PATCH",)),
    Sent(name="query", slug="bad-request", path="/api/v1/functions?namespce=x", says=("namespce",)),
    Sent(
        name="push to a server of processes", slug="path-not-found", method="POST", path="/api/v1/images/push",
        body=b"{}", says=("/api/v1/images/push",),
    ),
    Sent(
        name="build without a name", slug="bad-request", method="POST", path="/api/v1/builds?template=python3-http",
        body=b"x", says=("name",),
    ),
    Sent(
        name="build argument without a value", slug="bad-request", method="POST", body=b"x",
        path="/api/v1/builds?name=x&template=python3-http&build_args=WORD", says=("'WORD' must be NAME=VALUE",),
    ),
    Sent(
        name="build secret that is no base64", slug="bad-request", method="POST", body=b"x",
        path="/api/v1/builds?name=x&template=python3-http", headers={"X-Build-Secret": "npmrc=%%"},
        says=("npmrc is not base64",),
    ),
    Sent(
        name="build with another layout", slug="bad-request", method="POST", body=b"x",
        path="/api/v1/builds?name=x&template=python3-http&layout=flat", says=("layout",),
    ),
)  # fmt: skip
