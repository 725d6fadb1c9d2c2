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
        "Correct `image:` in stack.yaml, or push it (faasctl push, where it was built), then: faasctl up",
    ),
    Row(
        "image-not-here", 503, 1,
        "The Docker engine has no image of this name, and the registry that it would be from could not be asked.",
        "A name that is misspelt, or an image that is on another machine. A name without a registry's is looked for on "
        "the engine first, and then at Docker Hub.",
        "Correct `image:` (`docker image ls` on the engine's machine shows what there is), or see that the engine "
        "reaches the registry; then: faasctl up",
    ),
    Row(
        "image-gone", 422, 1,
        "An image that was built here is not on the Docker engine any more.",
        "Somebody removed it (`docker rmi`, `docker system prune --all`), or the engine lost it. No registry has it.",
        "Build it again from its source, which also ends the pause between starts: faasctl up",
    ),
    Row(
        "image-refused", 422, 1,
        "The registry does not give out this image.",
        "Registries say the same of names that do not exist and of private images that this login may not have.",
        "Correct `image:`, or log the server's user in as somebody who may pull it (`docker login REGISTRY`), then: "
        "faasctl up",
    ),
    Row(
        "image-not-runnable", 422, 1,
        "The image cannot be started as a container.",
        "Its command is not in it, is for another processor, or may not be run by an unprivileged user.",
        "Try `docker run --rm --user 10001 IMAGE`; correct the image, then: faasctl up",
    ),
    Row(
        "image-writes", 422, 1,
        "The image writes to its own file system, which is read-only here.",
        "Functions run with a read-only root file system; they can write below /tmp, in memory that is theirs alone.",
        "Let it write below /tmp, or set `readonly_root_filesystem: false` for the function (other clients: the "
        "annotation pilotlight.dev/readonly_root_filesystem: \"false\"), and deploy again.",
    ),
    Row(
        "image-rights", 422, 1,
        "The image wants rights that functions do not have.",
        "Images that name no user, or root, run as user 10001, and none has a capability: it cannot change owners, "
        "write into root's folders or become another user.",
        "Give the image a USER that can do its work. A server can run such images as root, still without "
        "capabilities: faasctl serve --set docker.run_as=0:0",
    ),
    Row(
        "image-build-failed", 400, 1,
        "A step of the image's build failed.",
        "A command of the template's Dockerfile, or of your own, exited with an error; the error has its last lines "
        "and the Dockerfile's line.",
        "Correct that line, or what it works on, then: faasctl up",
    ),
    Row(
        "base-image", 400, 1,
        "The image that a Dockerfile begins with cannot be had.",
        "A misspelt name in FROM, or a private image that the server's user has no login for.",
        "Correct FROM, or log the server's user in (`docker login REGISTRY`), then: faasctl up",
    ),
    Row(
        "dockerfile-missing", 400, 1,
        "The function's folder has no Dockerfile.",
        "`lang: dockerfile` builds the folder as it is, by the Dockerfile at its top.",
        "Put a Dockerfile into the folder that `handler:` names, or choose another `lang:`.",
    ),
    Row(
        "template-without-dockerfile", 400, 1,
        "The template has no Dockerfile, so no image can be made of it.",
        "It is for functions as processes alone, or its Dockerfile was left out.",
        "Add a Dockerfile to the template, or deploy to a server that runs functions as processes.",
    ),
    Row(
        "buildkit-missing", 422, 1,
        "The build needs BuildKit, which the server does not have.",
        "Build secrets and RUN --mount are BuildKit's; the server uses it through Docker's plugin buildx.",
        "Install Docker's client and its plugin buildx on the server's machine, or do without secrets and mounts.",
    ),
    Row(
        "registry-unreachable", 503, 1,
        "The image's registry cannot be reached.",
        "It is not running, its name is misspelt, or the network or a proxy is in the way. Functions whose image is "
        "on the engine already go on starting.",
        "Look at the engine's network and proxy settings, pull the image by hand (`docker pull IMAGE`), then try "
        "again.",
    ),
    Row(
        "registry-login", 422, 1,
        "The registry wants a login, or refused the one that it was given.",
        "A private registry without credentials, a wrong password, or a token that has expired (some last 12 hours). "
        "It is not the password of the Pilotlight server, which `faasctl login` stores.",
        "Log in again: `docker login REGISTRY`, for a push where you type it, for a pull as the server's user.",
    ),
    Row(
        "registry-limit", 503, 1,
        "The registry lets nobody pull or push so often.",
        "Too many requests from this address or account in the registry's own span of time.",
        "Wait, or log in: most registries let accounts pull more often.",
    ),
    Row(
        "registry-tls", 503, 1,
        "The engine does not trust the connection to the registry.",
        "A self-signed certificate, one of another name or out of date, or a registry that speaks plain HTTP.",
        "Give the engine the certificate as /etc/docker/certs.d/REGISTRY/ca.crt, or name a registry without one under "
        "insecure-registries in its daemon.json.",
    ),
    Row(
        "image-name", 400, 1,
        "This is no name of an image.",
        "Names have lower case letters, digits and . _ - / in them, then a tag after a colon, and no https:// before.",
        "Write it as REGISTRY/PATH/NAME:TAG, as in registry.example.com/team/hello:1.0.",
    ),
    Row(
        "image-platform", 422, 1,
        "The image is not for the engine's processor or system.",
        "It was built on a machine of another kind (arm64 for amd64, say), and for no other.",
        "Build it for the engine's platform (`docker version` names it), push it, then: faasctl up",
    ),
    Row(
        "push-refused", 422, 1,
        "The registry does not take this image under this name.",
        "The login has no right to push there, the repository was never made, its tags cannot be moved, or the "
        "account has no room left.",
        "Correct `image:` in stack.yaml, log in as somebody who may push there (`docker login REGISTRY`), or make the "
        "repository first where the registry wants that.",
    ),
    Row(
        "push-too-large", 422, 1,
        "A layer of the image is larger than the registry takes.",
        "A limit of the registry, or of a proxy before it (nginx takes 1 MiB unless told otherwise).",
        "Raise that limit (client_max_body_size in nginx), or leave out of the function what it does not need.",
    ),
    Row(
        "push-failed", 502, 1,
        "The registry did not take the image.",
        "It broke off or lost the upload, or its disk is full. Nothing of this push can be pulled.",
        "Push again. If it stays like this, the registry's own log says more.",
    ),
    Row(
        "push-no-registry", 0, 2,
        "The stack file does not say where to push to.",
        "A name without a registry means Docker Hub's own `library`, which nobody else may push to.",
        "Write `image: REGISTRY/PATH/NAME:TAG` in stack.yaml, as in registry.example.com/team/hello:1.0.",
    ),
    Row(
        "docker-config-unreadable", 0, 4,
        "The registries' logins in Docker's configuration cannot be read.",
        "~/.docker/config.json (or $DOCKER_CONFIG/config.json) is not JSON, or the helper program that it names for "
        "this registry is missing or failed.",
        "Correct the file or install the helper; `docker login REGISTRY` writes a new login.",
    ),
)  # fmt: skip
