"""Why source does not become a function: the upload, the requirements, the template."""

from pilotlight_problems import Row

ROWS = (
    Row(
        "invalid-source", 400, 1,
        "The uploaded source is not what a function can be made of.",
        "A path that leads outside, a link or device in the archive, too many files, or no tar at all.",
        "Upload a tar of regular files and folders with paths relative to the handler's folder.",
    ),
    Row(
        "template-not-found", 400, 1,
        "The server has no template of this name.",
        "`lang:` is misspelt, or the template is not installed on this server.",
        "The error names the templates that there are; correct `lang:` in stack.yaml.",
    ),
    Row(
        "invalid-template", 400, 1,
        "The template is not one that can be built from.",
        "Its template.yml is missing, is no YAML, or says something impossible.",
        "Correct template.yml as the error says; templates/README.md has its keys.",
    ),
    Row(
        "invalid-build-option", 400, 1,
        "The template has no build option of this name.",
        "`build_options:` is misspelt, or is meant for another template.",
        "The error names the options that there are; correct `build_options:` in stack.yaml.",
    ),
    Row(
        "template-needs-images", 422, 1,
        "The template makes a container image, and this server runs functions as processes.",
        "`lang:` is a template for images (bash, node, dockerfile, or one of OpenFaaS').",
        "Deploy it to a server that was started with `--provider docker`, or choose python3-http, python3-lambda or "
        "python3-asgi.",
    ),
    Row(
        "invalid-requirements", 400, 1,
        "requirements.txt holds a line that is no requirement, or one that a function may not have.",
        "Options of pip (`-r`, `-e`, `--index-url`) and paths of the server are refused; so are pins of what the "
        "runtime brings that are older than it needs.",
        "Correct the line that the error names, then: faasctl up",
    ),
    Row(
        "requirement-not-found", 400, 1,
        "No package is called like that.",
        "A misspelt name: the name on the index may differ from the one that is imported (pillow, not PIL).",
        "Correct the name in requirements.txt, then: faasctl up",
    ),
    Row(
        "requirement-no-version", 400, 1,
        "The package has no such version, or none for this Python.",
        "A version that was never released, was withdrawn, or needs another Python than the server's.",
        "Ask for a version that exists; leave the version out to get the newest.",
    ),
    Row(
        "requirement-conflict", 400, 1,
        "The requirements contradict each other.",
        "Two lines, or a line and what another package needs, leave no version that suits all; or a file is not "
        "what its hash says.",
        "Loosen one of the versions that the error names, then: faasctl up",
    ),
    Row(
        "requirement-build-failed", 400, 1,
        "A package has no ready-made wheel here, and building it failed.",
        "It brings C code and the server has no compiler or no headers, or its own build is broken.",
        "Ask for a version that has a wheel for this Python and machine, or install its build tools on the "
        "server.",
    ),
    Row(
        "index-unreachable", 503, 1,
        "The package index cannot be reached.",
        "No network, a proxy or a certificate that the server does not know. What was downloaded before is kept.",
        "Look at the server's network, proxy and certificate settings (pip's configuration counts), then build "
        "again.",
    ),
    Row(
        "index-refused", 503, 1,
        "The package index refused the server's credentials.",
        "A private index, and no or old credentials in the server's pip configuration.",
        "The server's operator sets index and credentials in pip's configuration (index-url) or UV_DEFAULT_INDEX.",
    ),
    Row(
        "build-timeout", 503, 1,
        "The build did not end in time.",
        "Large packages over a slow network, or a step that hangs. What was finished is kept, so the next build is "
        "quicker.",
        "Build again, or raise build.timeout_seconds in the server's settings.",
    ),
    Row(
        "bundle-not-found", 404, 5,
        "What should be deployed was not built on this server, or is no longer kept.",
        "A reference of another server, or an old one: bundles that no revision refers to are collected.",
        "Build the source (`faasctl build`), then deploy the reference that it prints.",
    ),
    Row(
        "storage-full", 507, 1,
        "The disk of the server's data directory is full.",
        "Nothing was changed. What is live goes on being served.",
        "Free space on that disk, then try again.",
    ),
)  # fmt: skip
