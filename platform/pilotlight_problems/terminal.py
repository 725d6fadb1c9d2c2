"""What faasctl says by itself: the command line, the stack file and the user's files, the way to the server."""

from pilotlight_problems import Row

ROWS = (
    Row(
        "usage", 0, 2,
        "The command line cannot be meant as it stands.",
        "A misspelt command or option, a missing argument, or two options that exclude each other.",
        "See: faasctl --help, or faasctl COMMAND --help",
    ),
    Row(
        "server-unreachable", 0, 3,
        "Nothing answers at the server's address.",
        "No server runs there, the address is wrong, or the network does not lead there. `from:` says where the "
        "address came from.",
        "Start one here: faasctl serve. Or point to another: faasctl login URL",
    ),
    Row(
        "not-pilotlight", 0, 3,
        "Something answered at the address, but it is not a Pilotlight server.",
        "Another program listens there. No password was sent to it.",
        "Give the address of a Pilotlight server: --server URL, or FAASCTL_SERVER.",
    ),
    Row(
        "openfaas-gateway", 0, 3,
        "The server is an OpenFaaS gateway, which has no API for this command.",
        "The address belongs to OpenFaaS, not to Pilotlight. No password was sent to it.",
        "`faasctl invoke` works with it; OpenFaaS' own faas-cli does the rest.",
    ),
    Row(
        "proxy-failed", 0, 3,
        "The proxy that the environment names does not lead to the server.",
        "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names one that is not there, or that refuses this address.",
        "Correct the variable, or name the server's host in NO_PROXY.",
    ),
    Row(
        "server-silent", 0, 6,
        "The server took the request and did not answer in time.",
        "It is busy or stuck.",
        "Look at the server's log, then try again.",
    ),
    Row(
        "server-gone", 0, 1,
        "The server closed the connection in the middle of an answer.",
        "It crashed or was restarted; it comes back by itself.",
        "See whether it was done: faasctl list",
    ),
    Row(
        "server-error", 0, 1,
        "The server answered with an error that is not in Pilotlight's form.",
        "A proxy in between, or a server of another kind or release.",
        "Try again in a moment; the server's log says more.",
    ),
    Row(
        "server-missing", 0, 1,
        "The server's package is not installed beside faasctl.",
        "faasctl was copied, or installed alone.",
        "pip install pilotlight",
    ),
    Row(
        "credentials-unreadable", 0, 4,
        "The file of stored logins cannot be read.",
        "It was edited by hand, belongs to another user, or is damaged.",
        "Mend or remove it, then: faasctl login",
    ),
    Row(
        "no-local-server", 0, 1,
        "No server's data was found on this machine, or it cannot be read.",
        "`login --local` reads the credential in the server's data directory, which is another one, or another user's.",
        "Name it: faasctl login --local --data-dir DIR. Or: faasctl login URL --password-stdin",
    ),
    Row(
        "not-logged-in", 0, 5,
        "No login is stored for this address.",
        "It was never stored, or is stored under another address.",
        "The error names those that are stored; forget all with: faasctl logout --all",
    ),
    Row(
        "build-interrupted", 0, 1,
        "The server ended in the middle of the build; nothing of it is kept.",
        "It crashed or was restarted; it comes back by itself.",
        "Build again.",
    ),
    Row(
        "nothing-to-build", 0, 1,
        "The function is a ready-made image; there is nothing to build.",
        "It has an `image:` and no `handler:`, or `skip_build: true`.",
        "Deploy it: faasctl deploy",
    ),
    Row(
        "source-refused", 0, 1,
        "A file of the function cannot be uploaded.",
        "A link that leads out of the folder, a socket or device, a file that cannot be read, or one that changed "
        "while it was read.",
        "Replace it with a regular file, or move it out of the folder.",
    ),
    Row(
        "template-missing", 0, 1,
        "faasctl does not find a template's files.",
        "They are installed beside it; a part of the installation was removed, or faasctl was copied without it.",
        "Install Pilotlight again.",
    ),
    Row(
        "template-unknown", 0, 2,
        "There is no template of this name, neither in the project's template/ nor with Pilotlight.",
        "It is misspelt, or was not fetched yet.",
        "The error names those that there are; fetch others: faasctl template pull URL",
    ),
    Row(
        "template-wrong", 0, 1,
        "A template is not of the form that one must have.",
        "It is a folder with template.yml (a mapping), a Dockerfile, and the folder that functions begin with.",
        "Correct the file that the error names, or fetch the template again with --overwrite.",
    ),
    Row(
        "template-source", 0, 1,
        "What templates should be fetched from holds none, or holds what no template may have.",
        "A repository or archive has its templates under template/NAME/. Links and paths that lead outside are "
        "refused.",
        "Look at what the address leads to; a folder of one template can be given by its path.",
    ),
    Row(
        "template-unreachable", 0, 1,
        "The templates cannot be fetched from where they should be.",
        "A misspelt address or path, no network, a proxy, a branch or tag that is not there, or a repository that "
        "wants a password.",
        "Open the address with git or a browser; a folder that was fetched by hand can be given by its path.",
    ),
    Row(
        "template-exists", 0, 1,
        "A template of this name is in template/ already; nothing was changed.",
        "It was fetched before, or is the project's own.",
        "Replace it: --overwrite",
    ),
    Row(
        "git-missing", 0, 1,
        "The templates are in a git repository, and git is not installed here.",
        "faasctl runs git to fetch a repository.",
        "Install git, or give the address of an archive (.zip, .tar.gz).",
    ),
    Row(
        "folder-exists", 0, 1,
        "The folder for the new function is there already.",
        "`faasctl new` never writes into a folder that exists.",
        "Choose another name, or remove the folder.",
    ),
    Row(
        "function-exists", 0, 1,
        "The stack file has a function of this name already.",
        "`faasctl new` never changes an entry that exists.",
        "Choose another name.",
    ),
    Row(
        "cannot-write", 0, 1,
        "A file cannot be written.",
        "Its folder belongs to somebody else, is read-only, or the disk is full.",
        "Look at its rights and at the disk.",
    ),
    Row(
        "output", 0, 1,
        "The output cannot be written.",
        "The disk that it is redirected to is full, or the terminal is gone.",
        "Look at where the output goes.",
    ),
    Row(
        "dev-twice", 0, 1,
        "Another `faasctl dev` works on this folder.",
        "One session watches a folder and serves its functions; a second one would do the same again.",
        "End the other with Ctrl-C, or use it: it watches the same files.",
    ),
    Row(
        "dev-server", 0, 1,
        "The server of a `faasctl dev` session did not start, or ended by itself.",
        "It was killed, or the machine lacks memory or disk; the error has its last words.",
        "Start again: faasctl dev",
    ),
    Row(
        "stack-missing", 0, 2,
        "There is no stack file.",
        "The command looks for stack.yaml or stack.yml in this folder, unless -f names another.",
        "Make one with a first function: faasctl new hello. Or name one: -f FILE",
    ),
    Row(
        "stack-syntax", 0, 2,
        "The stack file is not valid YAML.",
        "As a rule a tab, a missing colon, or a line that is not indented like its neighbours.",
        "Correct the place that the error names; all keys: faasctl help stack-file",
    ),
    Row(
        "stack-empty", 0, 2,
        "The stack file defines no function.",
        "`functions:` is missing or empty.",
        "Add one: faasctl new hello",
    ),
    Row(
        "stack-file", 0, 2,
        "The stack file cannot be read.",
        "It is no text in UTF-8, too large, or of another user.",
        "Look at the file, or name another: -f FILE",
    ),
    Row(
        "stack-no-function", 0, 2,
        "The stack file has no such function.",
        "A misspelt name, or a --filter or --regex that matches none.",
        "The error names those that there are.",
    ),
    Row(
        "stack-unknown-key", 0, 2,
        "A key of the stack file is not known.",
        "As a rule it is misspelt. An unknown key is never ignored, since it would be without effect.",
        "Correct or remove it; all keys: faasctl help stack-file",
    ),
    Row(
        "stack-duplicate-key", 0, 2,
        "A key stands twice in one place of the stack file.",
        "The second would silently replace the first.",
        "Remove one of the two.",
    ),
    Row(
        "stack-missing-key", 0, 2,
        "A function of the stack file lacks a key that it needs.",
        "It needs `lang:` and `handler:`, or an `image:`.",
        "Add the key; all keys: faasctl help stack-file",
    ),
    Row(
        "stack-type", 0, 2,
        "A value of the stack file is not of the kind that its key takes.",
        "The error says what was expected.",
        "Correct the value; all keys: faasctl help stack-file",
    ),
    Row(
        "stack-not-yet", 0, 2,
        "A key of the stack file is planned and not there yet.",
        "It is refused and not ignored, since it would be without effect.",
        "Take the key out; all keys: faasctl help stack-file",
    ),
    Row(
        "stack-cors", 0, 2,
        "The words under `cors:` contradict each other.",
        "Browsers refuse credentials together with every origin.",
        "Name the origins, or take `credentials:` out.",
    ),
    Row(
        "stack-scale", 0, 2,
        "The numbers under `scale:` contradict each other.",
        "`min` is more than `max`, for example.",
        "Correct them, then: faasctl up",
    ),
    Row(
        "stack-handler", 0, 2,
        "The folder under `handler:` is not there.",
        "It is relative to the stack file's own folder.",
        "Correct `handler:`, or make the folder.",
    ),
    Row(
        "stack-copy", 0, 2,
        "A path under `configuration: copy:` cannot be copied.",
        "It is not there, or lies outside of the stack file's folder.",
        "Name a folder or file inside of the project.",
    ),
    Row(
        "stack-template", 0, 2,
        "An entry under `configuration: templates:` cannot be read.",
        "It needs a `name:`, and a `source:` unless the template comes with Pilotlight.",
        "Correct it: - {name: node22, source: https://git.example.org/team/templates.git}",
    ),
    Row(
        "stack-build-secret", 0, 2,
        "A file under `build_secrets:` cannot be sent.",
        "It is not there, cannot be read, or is too large for a secret; its path is relative to the stack file.",
        "Correct the path, or give a smaller file: tokens and certificates are meant, not data.",
    ),
    Row(
        "stack-environment-file", 0, 2,
        "An environment file cannot be read, or is not of the form that it must have.",
        "It holds one key, `environment:`, with variables and their values; its path is relative to the stack "
        "file.",
        "Correct the file, or its path under `environment_file:`.",
    ),
    Row(
        "stack-variable", 0, 2,
        "A `${...}` in the stack file cannot be read.",
        "A brace that is not closed, or a form that is not known.",
        "Correct it; write $$ for a dollar sign, or say --envsubst=false",
    ),
    Row(
        "stack-unusual", 0, 1,
        "A new function cannot be added to the stack file by the program.",
        "The file is written in a way that cannot be added to without changing what is there.",
        "Add the function by hand: faasctl help stack-file",
    ),
    Row(
        "several", 0, 1,
        "More than one thing is wrong.",
        "With --json, `errors` lists them.",
        "Correct each; the first may be the cause of the others.",
    ),
)  # fmt: skip
