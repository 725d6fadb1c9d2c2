"""The commands by name, one line each, grouped by the day's work: all that the first page and a shell's completion
need, so it imports nothing. `cli` makes click's commands of it."""

GROUPS: dict[str, dict[str, str]] = {
    "Write": {
        "new": "Start a function: a handler, its test, a stack file entry.",
        "dev": "Serve a stack file, and each save of its functions' code.",
        "up": "Build and deploy the functions of a stack file.",
    },
    "Run": {
        "deploy": "Deploy from a stack file, or what was built before.",
        "invoke": "Call a function: body in, body out.",
        "scale": "Want so many replicas of a function now.",
        "remove": "Remove functions.",
    },
    "Look": {
        "list": "Show the functions, their state and why.",
        "describe": "Show all about one function: callable? why so? any trouble?",
        "logs": "Show what functions printed.",
        "top": "Watch functions live, those in trouble first.",
        "nodes": "Show the machines: state, processors, memory, devices.",
    },
    "Keep": {
        "serve": "Run the server on this machine.",
        "login": "Store the password of a Pilotlight server.",
        "secret": "Create, list, update and remove secrets.",
        "namespace": "Create, list and remove namespaces.",
        "key": "Show or rotate the key of a function with `auth: key`.",
    },
}
MORE = {
    "template": "List the templates, and fetch those of other people.",
    "build": "Build the functions of a stack file without deploying them.",
    "push": "Push the images of a stack file's functions to their registry.",
    "publish": "Build the functions of a stack file and push their images.",
    "logout": "Forget the stored password of a Pilotlight server.",
    "explain": "Explain an error by its name.",
    "completion": "Print the completion script of a shell.",
    "version": "Show the version.",
    "help": "Show help on a command or a topic.",
}
"""Commands that the first page names in one line."""
ALIASES = {
    "ls": "list", "rm": "remove", "delete": "remove",
    "secrets": "secret", "namespaces": "namespace", "templates": "template",
}  # fmt: skip
NAMES = [*(name for commands in GROUPS.values() for name in commands), *MORE]
TOPICS = {
    "exit-codes": "what scripts can tell apart",
    "addresses": "which server is asked, and as whom",
    "stack-file": "every key of a stack file",
}
"""What `faasctl help` explains besides the commands."""

HABITS = {
    "ps": "`faasctl list` shows the functions, `faasctl describe NAME` one's replicas",
    "status": "`faasctl list` shows the functions, `faasctl describe NAME` all about one",
    "call": "call a function with `faasctl invoke`",
    "run": "call a function with `faasctl invoke`, start the server with `faasctl serve`",
    "exec": "call a function with `faasctl invoke`",
    "start": "a function starts when it is called; start the server with `faasctl serve`",
    "stop": "a function stops when nobody calls it; `faasctl remove` takes it away",
    "restart": "`faasctl scale NAME 0` ends a function's replicas; the next call starts a new one",
    "server": "start the server with `faasctl serve`",
    "tail": "follow what functions print with `faasctl logs -f NAME`",
    "log": "what functions print is shown by `faasctl logs NAME`",
    "watch": "`faasctl top` shows the functions live",
    "apply": "deploy a stack file with `faasctl up`",
    "launch": "deploy a stack file with `faasctl up`",
    "create": "make a function with `faasctl new NAME`, deploy it with `faasctl up`",
    "init": "make a function with `faasctl new NAME`",
    "store": "there is no function store; make a function with `faasctl new NAME`",
    "ready": "`faasctl up` ends when a replica has answered; `faasctl describe NAME` tells whether it can be called",
    "install": "what a function needs stands in its requirements.txt; `faasctl up` installs it",
    "info": "`faasctl describe NAME` shows all about a function, `faasctl version` the version",
    "get": "`faasctl list` shows the functions, `faasctl describe NAME` all about one",
    "show": "`faasctl describe NAME` shows all about a function",
    "inspect": "`faasctl describe NAME` shows all about a function",
    "whoami": "`faasctl login` stores a password and tells as whom; see: faasctl help addresses",
    "auth": "give a server's password to `faasctl login`; see: faasctl help addresses",
    "registry-login": "`docker login REGISTRY` stores a registry's password, and `faasctl push` uses it",
    "node": "`faasctl nodes` shows the machines",
}
"""Words that people bring from other tools, and what does it here."""


def first_page() -> str:
    """Help on everything, on one screen of 24 lines."""
    lines = ["Functions on your own machine: nothing runs while nobody calls.", ""]
    lines += ["Usage: faasctl COMMAND [OPTIONS]       Help on one: faasctl help COMMAND", ""]
    for title, commands in GROUPS.items():
        for number, (name, text) in enumerate(commands.items()):
            lines.append(f"{'' if number else title:<7}{name:<10} {text}")
    lines.append(f"{'Also':<6}{', '.join(MORE)}")
    lines += ["", "First time:  faasctl new hello && faasctl dev"]
    return "\n".join(lines) + "\n"
