"""What the caller of a function can be told by the router, or by the replica in the function's place."""

from pilotlight_problems import Row

ROWS = (
    Row(
        "function-not-found", 404, 5,
        "There is no function of this name.",
        "The name or its namespace is misspelt, the function was removed, or it is in another namespace "
        "(`name.namespace`; without one it is openfaas-fn).",
        "`faasctl list` shows the functions that there are.",
    ),
    Row(
        "path-not-found", 404, 5,
        "Nothing answers at this path.",
        "Functions are called at /function/NAME, OpenFaaS' API begins at /system, Pilotlight's at /api/v1. Of the "
        "paths that begin with /_/ only health and ready are open from outside.",
        "Correct the path; `faasctl list -v` and `faasctl describe NAME` show a function's address.",
    ),
    Row(
        "method-not-allowed", 405, 1,
        "The address does not take this HTTP method.",
        "A function takes GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS; each path of the API takes its own.",
        "Use one of the methods that the answer's Allow header names.",
    ),
    Row(
        "key-required", 401, 4,
        "The function wants a key, and the request has none.",
        "Its spec has `auth: key`, so only calls that bring its key reach it.",
        "Send `Authorization: Bearer KEY` or `X-Function-Key: KEY`; to see the key: faasctl key NAME",
    ),
    Row(
        "key-refused", 401, 4,
        "The request's key does not open this function.",
        "Each function has keys of its own, and a key that was replaced opens nothing any more.",
        "Send the key that `faasctl key NAME` shows.",
    ),
    Row(
        "call-depth-exceeded", 508, 1,
        "Functions called functions too deep on the way to this call.",
        "Functions that call each other in a circle, mostly: each call counts `X-Pilotlight-Depth` up.",
        "Break the circle; a chain that is meant to be longer wants a higher `router.call_depth` of the server.",
    ),
    Row(
        "body-too-large", 413, 1,
        "The request's body is larger than the function accepts.",
        "A function accepts 16 MiB unless its `body_limit` says otherwise.",
        "Send less, or raise `body_limit:` of the function in stack.yaml, then: faasctl up",
    ),
    Row(
        "queue-full", 429, 1,
        "As many requests wait for the function as its queue holds.",
        "More calls come than its replicas answer, and `scale: max` or the machine allows no more replicas.",
        "Try again in a moment; or raise the function's `scale: max`, `concurrency` or `queue`.",
    ),
    Row(
        "timeout", 504, 6,
        "The call's time passed before there was an answer.",
        "The time counts from the call's arrival: waiting for a replica, and the handler itself. A handler that "
        "is still running keeps its slot until it returns.",
        "Raise `timeout:` of the function in stack.yaml, or see what it waits for: faasctl describe NAME",
    ),
    Row(
        "handler-timeout", 504, 6,
        "The handler did not return within the function's timeout.",
        "It computes for longer, or waits for something that does not come. A thread that still runs 5 s later "
        "ends its replica, since nothing else can end it.",
        "Raise `timeout:` of the function in stack.yaml, or give the handler's own waits a deadline.",
    ),
    Row(
        "handler-raised", 500, 1,
        "The handler raised an exception.",
        "The traceback is in the function's log, under the call's id; it goes to a caller only with `debug: "
        "true`.",
        "Read it: faasctl logs NAME --call ID",
    ),
    Row(
        "bad-answer", 500, 1,
        "The handler returned something that is no answer.",
        "It may return None, text, bytes, a dict or list (JSON), an iterator, (body, status), (body, status, "
        'headers) or {"statusCode", "body", "headers"}. A forgotten `await` or `async def` is the usual reason.',
        "Return one of these; the function's log says what came.",
    ),
    Row(
        "websocket-unsupported", 501, 1,
        "Functions take no WebSocket connections yet.",
        "A client asked an ASGI function for the upgrade to WebSocket; only HTTP reaches it.",
        "Use HTTP: a streamed answer, as server-sent events, goes from function to client as long as it lasts.",
    ),
    Row(
        "replica-died", 502, 1,
        "The replica that had the call is gone, or did not speak HTTP.",
        "It was killed, it ended itself, or the connection to it broke. A POST is not repeated, since it may have "
        "had effects.",
        "`faasctl describe NAME` has the last end of a replica with its last lines; then call again.",
    ),
    Row(
        "replica-exit", 502, 1,
        "The replica that had the call ended by itself.",
        "The handler, or a library that it uses, left the process: sys.exit in a thread, os._exit, a fatal error.",
        "`faasctl describe NAME` has its exit code and its last lines.",
    ),
    Row(
        "replica-out-of-memory", 502, 1,
        "The replica that had the call used more memory than its limit.",
        "The handler, or something that it started, needed more than `limits: memory:`; the kernel or the runtime "
        "ended it.",
        "Raise `limits: memory:` of the function, or have it keep less at once; `faasctl describe NAME` has the limit.",
    ),
    Row(
        "replica-signal", 502, 1,
        "The replica that had the call was killed by a signal.",
        "A crash in native code (SIGSEGV, SIGABRT), or somebody killed it.",
        "`faasctl describe NAME` has the signal and its last lines.",
    ),
    Row(
        "replica-stuck", 502, 1,
        "The replica was ended because a handler would not return.",
        "A handler ran on 5 s after its timeout; nothing ends a thread but its process, so its other calls are "
        "lost, too.",
        "Give the handler's own waits a deadline, or raise the function's `timeout:`.",
    ),
    Row(
        "replica-killed", 502, 1,
        "The replica was asked to end and did not within its time.",
        "It was draining for a deploy, a scale-in or a removal, and its calls took longer than that may take.",
        "Call again; for long calls raise `control.drain_seconds` of the server.",
    ),
    Row(
        "replica-lost", 502, 1,
        "The replica is gone, and nobody saw why.",
        "Its zygote or the whole server was ended at the same moment.",
        "Call again.",
    ),
    Row(
        "replica-stopped", 502, 1,
        "The replica was stopped while it had the call.",
        "The function was removed, scaled to zero or replaced, and the call took longer than a drain may.",
        "Call again.",
    ),
    Row(
        "replica-unreachable", 502, 1,
        "No replica could be reached; nothing of the call was sent.",
        "A replica ended in this moment, and the next one is not there yet.",
        "Try again in a moment; nothing was executed.",
    ),
    Row(
        "replica-busy", 503, 1,
        "The replica had no room for the call, and its body is too large to be kept for another one.",
        "Several routers share the replica's slots, and a body over the router's buffer was on its way.",
        "Try again in a moment.",
    ),
    Row(
        "no-routes", 503, 1,
        "The router does not know the functions yet.",
        "The server has just started, and its control plane is still looking at what runs.",
        "Try again in a moment; if it lasts, look at the server's log.",
    ),
    Row(
        "control-plane-down", 503, 1,
        "The control plane does not answer.",
        "It was ended, or is starting. Functions that are warm go on being served.",
        "It is started again by itself; try again in a moment. If it lasts, look at the server's log.",
    ),
    Row(
        "control-plane-timeout", 504, 6,
        "The control plane did not answer in time.",
        "It hangs, or waits for something that does not come. Functions that are warm go on being served.",
        "Try again in a moment; if it lasts, look at the server's log.",
    ),
    Row(
        "malformed-request", 400, 1,
        "The bytes on the connection are no HTTP/1.1 request.",
        "A program that builds requests by itself, TLS spoken to a plain port, or a head over its limits.",
        "Send HTTP/1.1 as RFC 9112 has it.",
    ),
)  # fmt: skip
