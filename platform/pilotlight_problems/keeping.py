"""What goes wrong with secrets, functions' keys and namespaces."""

from pilotlight_problems import Row

ROWS = (
    Row(
        "secret-not-found", 404, 5,
        "There is no secret of this name in the namespace.",
        "It was never set, was removed, or is in another namespace: a function gets secrets of its own namespace only.",
        "`faasctl secret list` shows those that there are; set it with: faasctl secret set NAME",
    ),
    Row(
        "secret-exists", 409, 1,
        "A secret of this name is there already.",
        "It was set before, perhaps by somebody else; creating does not overwrite.",
        "Replace its value: faasctl secret set NAME. Functions take the new one with their next start or deploy.",
    ),
    Row(
        "secret-in-use", 409, 1,
        "The secret is used by functions, which could not start without it.",
        "A function names it under `secrets:`. Those that run have a copy until they end.",
        "Deploy the functions that the error names without it, or remove them, then remove the secret.",
    ),
    Row(
        "secrets-locked", 503, 1,
        "The server cannot open its secrets.",
        "Its key file, auth/secrets.key in the data directory, is gone, cannot be read, or is not the one that they "
        "were stored under. Functions without secrets are not touched by it.",
        "Put the key file back from a backup; no restart is needed. If it is lost, make a new one (`head -c 32 "
        "/dev/urandom | base64 > auth/secrets.key`), set each secret again and rotate the functions' keys.",
    ),
    Row(
        "function-key-not-found", 404, 5,
        "The function has no key.",
        "It takes calls from everybody: only functions with `auth: key` have one.",
        "Set `auth: key` for the function in stack.yaml, then: faasctl up",
    ),
    Row(
        "namespace-not-found", 404, 5,
        "There is no namespace of this name.",
        "It was not created, or is misspelt.",
        "`faasctl namespace list` shows those that there are; make it with: faasctl namespace create NAME",
    ),
    Row(
        "namespace-exists", 409, 1,
        "A namespace of this name is there already.",
        "It was created before.",
        "Use it, or choose another name.",
    ),
    Row(
        "namespace-in-use", 409, 1,
        "The namespace cannot be removed.",
        "Functions are in it, or it is the default one.",
        "Remove the functions that the error names first: faasctl remove NAME --namespace NAMESPACE",
    ),
)  # fmt: skip
