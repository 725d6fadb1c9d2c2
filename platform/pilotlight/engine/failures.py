"""What engines and registries say when they refuse, as the errors that our users get. Pure."""

import re

from pilotlight.core.errors import PilotlightError, RevisionFailed, StartFailed


class Refused(Exception):
    """The engine answered, with an error: its status and its own sentence."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status
        self.said = said


def unreachable(url: str, why: str) -> StartFailed:
    return StartFailed(f"the Docker engine at {url} cannot be reached: {why}", slug="engine-unreachable")


def image_missing(image: str) -> RevisionFailed:
    """For a pull policy of `never`."""
    return RevisionFailed(
        f"there is no image {image} on the engine, and the server is set to pull none", slug="image-not-found"
    )


_NOT_FOUND = re.compile(r"manifest.*(unknown|not found)|repository.*(does not exist|not found)|not found", re.I | re.S)
_DENIED = re.compile(r"denied|unauthorized|authentication required|no basic auth|403 forbidden", re.I)
_AWAY = re.compile(
    r"dial tcp|no such host|connection (?:refused|reset)|i/o timeout|Client\.Timeout|x509|tls:|EOF|server gave HTTP"
    r" response|too ?many ?requests|network is unreachable|5\d\d ",
    re.I,
)


def pull_failure(image: str, said: str) -> PilotlightError:
    """Why an image could not be had from its registry. What could be cured by itself (a network) is the node's fault,
    everything else the revision's."""
    sentence = f"{image} cannot be pulled: {said.strip()}"
    if _DENIED.search(said):  # registries say "does not exist or may require login" in one sentence
        return RevisionFailed(sentence, slug="image-refused")
    if _AWAY.search(said):
        return StartFailed(sentence, slug="registry-unreachable")
    if _NOT_FOUND.search(said):
        return RevisionFailed(sentence, slug="image-not-found")
    return RevisionFailed(sentence, slug="image-refused")


_COMMAND = re.compile(r"(?:executable file not found|no such file or directory|permission denied|exec format error)")
_RUNC = re.compile(r"^.*(?:starting container process caused|unable to start container process): ", re.S)


def start_failure(image: str, refused: Refused) -> PilotlightError:
    """Why a container could not be made or started."""
    said = refused.said.strip()
    if "OCI runtime" in said and _COMMAND.search(said):
        return RevisionFailed(f"{image} cannot be run: {_RUNC.sub('', said)}", slug="image-not-runnable")
    if "no command specified" in said.lower():
        return RevisionFailed(f"{image} cannot be run: it names no command", slug="image-not-runnable")
    if refused.status == 400:  # a reference that is none, a limit that no machine takes
        return RevisionFailed(f"{image} cannot be run: {said}", slug="image-not-runnable")
    return StartFailed(f"the Docker engine did not start a container of {image}: {said}")
