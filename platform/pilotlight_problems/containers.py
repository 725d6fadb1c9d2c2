"""Why a container does not come up: the engine, the registry, the image."""

from pilotlight_problems import Row

ROWS = (
    Row(
        "engine-unreachable", 503, 1,
        "The Docker engine does not answer.",
        "It is not running, its socket belongs to a group that the server's user is not in, or the address is wrong. "
        "Warm functions go on being served; the others wait.",
        "See that `docker info` works for the user that runs the server, and that DOCKER_HOST names the right engine.",
    ),
    Row(
        "image-not-found", 422, 1,
        "There is no image of this name.",
        "A misspelt name or tag, or an image that was built on another machine and never pushed.",
        "Correct `image:` in stack.yaml, or push it (`docker push IMAGE`), then: faasctl up",
    ),
    Row(
        "image-refused", 422, 1,
        "The registry does not give out this image.",
        "A private image without credentials, or with old ones; registries say the same of names that do not exist.",
        "Log the server's user in (`docker login REGISTRY`), or correct `image:`, then: faasctl up",
    ),
    Row(
        "image-not-runnable", 422, 1,
        "The image cannot be started as a container.",
        "Its command is not in it, is for another processor, or may not be run by an unprivileged user.",
        "Try `docker run --rm --user 10001 IMAGE`; correct the image, then: faasctl up",
    ),
    Row(
        "image-build-failed", 400, 1,
        "A step of the image's build failed.",
        "A command of the template's Dockerfile, or of your own, exited with an error; the error has its last lines "
        "and the Dockerfile's line.",
        "Correct that line, or what it works on, then: faasctl up",
    ),
    Row(
        "registry-unreachable", 503, 1,
        "The image's registry cannot be reached.",
        "No network, a proxy or a certificate that the engine does not know, or a limit on pulls.",
        "Look at the engine's network and proxy settings, pull the image by hand (`docker pull IMAGE`), then try "
        "again.",
    ),
)  # fmt: skip
