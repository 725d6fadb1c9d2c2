"""What the server's API can answer to a request about functions."""

from pilotlight_problems import Row

ROWS = (
    Row(
        "bad-request", 400, 2,
        "The request is not what the API takes.",
        "A field of the wrong type, a missing field, or a body that is no JSON.",
        "Correct the request and send it again; nothing was changed.",
    ),
    Row(
        "invalid-spec", 400, 2,
        "A field of the function's spec cannot be as it is.",
        "The error names the field and what was expected.",
        "Correct the field named above and deploy again; nothing was changed.",
    ),
    Row(
        "log-request", 422, 2,
        "The parameters of a request for logs cannot be read.",
        "`since` must be a time (RFC 3339), `tail` a whole number, `follow` true or false.",
        "Correct the parameter and ask again.",
    ),
    Row(
        "credentials-refused", 401, 4,
        "The server did not take the user and password, or got none.",
        "No login is stored for this address, the password is another server's, or the server's data directory "
        "was made anew. (A registry's password is another thing: registry-login.)",
        "On the server's machine: faasctl login --local. Elsewhere: faasctl login URL --password-stdin",
    ),
    Row(
        "forbidden", 403, 4,
        "A page of another site may not use the API.",
        "A browser sent the request on behalf of a page that is not the server's own; or the server runs without "
        "authentication and was called by a name that any site could have.",
        "Call the API from a program or from the server's own pages; without authentication by the server's IP "
        "address, or as localhost.",
    ),
    Row(
        "not-found", 404, 5,
        "Nothing of this name is there.",
        "A misspelt name or path; names are case-sensitive.",
        "Look at the name; the API begins at /api/v1, OpenFaaS' at /system.",
    ),
    Row(
        "conflict", 409, 1,
        "Something of this name is there already, or is in use.",
        "It was created before, perhaps by somebody else.",
        "Update it instead of creating it again, or choose another name.",
    ),
    Row(
        "stalled", 408, 6,
        "The client announced a body and stopped sending it.",
        "A slow or broken network, or a program that waits for an answer before it has sent everything.",
        "Send it again.",
    ),
    Row(
        "too-large", 413, 1,
        "The upload is larger than the server takes.",
        "Source may have 256 MiB, a JSON body 1 MiB, unless the server's settings say otherwise.",
        "Leave out what the function does not need, or raise the limit in the server's "
        "settings.",
    ),
    Row(
        "not-supported", 501, 1,
        "This server cannot do that.",
        "It is not built yet, or it needs another provider: the process provider runs source, not images of a "
        "registry.",
        "The error says what there is instead.",
    ),
    Row(
        "unavailable", 503, 1,
        "The server cannot do that at this moment.",
        "It is starting, stopping or busy.",
        "Try again in a moment.",
    ),
    Row(
        "internal", 500, 1,
        "Something failed that should not have; a mistake of Pilotlight's.",
        "The server's log has it under the id that the error names.",
        "Look at the server's log; if it says nothing that helps, report it.",
    ),
)  # fmt: skip
