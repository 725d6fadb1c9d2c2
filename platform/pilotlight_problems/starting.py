"""Why a revision, or one more replica of it, does not come up. Said at a deploy (422), and to callers (503)."""

from pilotlight_problems import Row

ROWS = (
    Row(
        "handler-syntax", 422, 1,
        "A file of the function is not valid Python.",
        "It is compiled with the Python that will run it, when it is deployed; the place is that version's.",
        "Correct the line, then: faasctl up",
    ),
    Row(
        "handler-missing", 422, 1,
        "The function's folder has no handler.",
        "A template looks for one name in one file: `handle` in handler.py for python3-http, `handler` for "
        "python3-lambda, `app` for python3-asgi. A misspelt name, or the wrong folder under `handler:`.",
        "Define it (the error names the nearest thing there is), then: faasctl up",
    ),
    Row(
        "import-failed", 422, 1,
        "The handler imports something that is not there.",
        "A package that is missing from requirements.txt (the name on the index may differ from the import's) or, in "
        "JavaScript, from package.json; or a module outside of the function's folder.",
        "Add the package to the function's requirements.txt or package.json, or the folder to `configuration: copy:`, "
        "then: faasctl up",
    ),
    Row(
        "load-failed", 422, 1,
        "The handler's module raised an error while it was imported, or its handler cannot be called.",
        "Code at the top of the module runs when a replica starts.",
        "Correct the line that the error names, then: faasctl up",
    ),
    Row(
        "init-failed", 422, 1,
        "The handler's `init` raised an error.",
        "As a rule a variable, a secret or a file that is not there.",
        "Correct `init`, or give the function what it looks for (`environment:`, `secrets:`), then: faasctl up",
    ),
    Row(
        "start-timeout", 422, 1,
        "A replica was not ready in time after its start.",
        "Its import or its `init` waits for something, or takes longer than the server allows.",
        "See what it waits for: faasctl logs NAME. Or raise control.start_timeout_seconds of the server.",
    ),
    Row(
        "crashed-at-start", 422, 1,
        "A replica ended before it was ready.",
        "The process was left (sys.exit, os._exit) or crashed in native code while the handler loaded; or a "
        "container's command ended by itself, where it must be a server that stays, on port 8080.",
        "Its last words are in the error and in: faasctl logs NAME",
    ),
    Row(
        "out-of-memory", 422, 1,
        "A replica needed more memory than its limit.",
        "`limits: memory:` is less than the function needs, at its start or in a call.",
        "Raise `limits: memory:` of the function in stack.yaml, then: faasctl up",
    ),
    Row(
        "revision-failed", 422, 1,
        "A revision that was deployed did not come up.",
        "The error says at which step, and the function's last words.",
        "Look at `faasctl logs NAME`, correct the code, then: faasctl up",
    ),
    Row(
        "start-failed", 503, 1,
        "A replica could not be started, for a reason that lies with the machine.",
        "No process could be made, or a file of the platform could not be written.",
        "Look at the server's log, and at the machine's free memory, processes and disk.",
    ),
    Row(
        "lost-with-zygote", 503, 1,
        "A start was lost because the process that it is forked from ended.",
        "Something killed the zygote. Such starts are made again by themselves.",
        "Try again in a moment.",
    ),
    Row(
        "unschedulable", 503, 1,
        "No node has room for one more replica.",
        "`requests:` of what runs, and of the function, are more than the machine has.",
        "Ask for less under `requests:`, or stop something that holds what is asked for.",
    ),
)  # fmt: skip
