"""What engines from 20.10 to 28, containerd and registries say when they refuse, and what our users are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.core.errors import PilotlightError, RevisionFailed, StartFailed, StorageFull
from pilotlight.engine.failures import (
    SHOWN,
    Kind,
    Refused,
    not_here,
    pull_failure,
    push_failure,
    registry_of,
    start_failure,
    why,
)

IMAGE = "registry.example:5000/team/hello:1"
REPOSITORY = "registry.example:5000/team/hello"
HUB_DENIED = "denied: requested access to the resource is denied"
NGINX_413 = (
    "error parsing HTTP 413 response body: invalid character '<' looking for beginning of value: "
    '"<html>\\r\\n<head><title>413 Request Entity Too Large</title></head>\\r\\n<body>\\r\\n'
    '<center><h1>413 Request Entity Too Large</h1></center>\\r\\n"'
)

# What is said, which kind it is, and a word of the sentence.
SAID = [
    # No such tag, no such repository
    (f"manifest for {IMAGE} not found: manifest unknown: manifest unknown", Kind.NO_TAG, "no such image or tag"),
    ("manifest unknown: manifest unknown", Kind.NO_TAG, "no such image or tag"),
    ("manifest unknown: The named manifest is not known to the registry.", Kind.NO_TAG, "no such image or tag"),
    (f'failed to resolve reference "{IMAGE}": {IMAGE}: not found', Kind.NO_TAG, "no such image or tag"),
    ("name unknown: repository name not known to registry", Kind.NO_REPOSITORY, "no such repository"),
    (f"repository {REPOSITORY} not found: does not exist or no pull access", Kind.NO_REPOSITORY, "no such repository"),
    (
        "name unknown: The repository with name 'team/hello' does not exist in the registry with id '123456789012'",
        Kind.NO_REPOSITORY,
        "no such repository",
    ),
    ("unknown: project team not found: project team not found", Kind.NO_REPOSITORY, "no such repository"),
    # Denied
    (HUB_DENIED, Kind.DENIED, "no right to it"),
    (
        f"pull access denied for {REPOSITORY}, repository does not exist or may require 'docker login': {HUB_DENIED}",
        Kind.DENIED,
        "no right to it",
    ),
    (
        f'failed to resolve reference "{IMAGE}": pull access denied, repository does not exist or may require '
        "authorization: server message: insufficient_scope: authorization failed",
        Kind.DENIED,
        "no right to it",
    ),
    ("unauthorized: access to the requested resource is not authorized", Kind.DENIED, "no right to it"),
    ('unexpected status from HEAD request to https://r/v2/x/manifests/1: 403 Forbidden', Kind.DENIED, "no right to it"),
    ("error parsing HTTP 403 response body: unexpected end of JSON input", Kind.DENIED, "no right to it"),
    ("denied: installation not allowed to Create organization package", Kind.DENIED, "no right to it"),
    ("error parsing HTTP 405 response body: invalid character 'M': \"Method not allowed\"", Kind.DENIED, "read-only"),
    ("unsupported: The operation is unsupported.", Kind.DENIED, "read-only"),
    (
        "denied: adding 1.2 GiB of storage resource, which when updated to current usage of 9.1 GiB will exceed the "
        "configured upper limit of 10.0 GiB.",
        Kind.DENIED,
        "no more room",
    ),
    # Login
    ("no basic auth credentials", Kind.LOGIN, "wants a login"),
    ('Head "http://registry.example:5000/v2/team/hello/manifests/1": no basic auth credentials', Kind.LOGIN, "wants"),
    (
        f'failed to resolve reference "{IMAGE}": pull access denied, repository does not exist or may require '
        "authorization: authorization failed: no basic auth credentials",
        Kind.LOGIN,
        "wants a login",
    ),
    ("unauthorized: authentication required", Kind.LOGIN, "wants a login"),
    ("unexpected status code [manifests 1]: 401 Unauthorized", Kind.LOGIN, "wants a login"),
    ("unauthorized: incorrect username or password", Kind.LOGIN, "refused the login"),
    ("unauthorized: HTTP Basic: Access denied. The provided password or token is incorrect", Kind.LOGIN, "refused"),
    ("unauthorized: BAD_CREDENTIAL", Kind.LOGIN, "refused the login"),
    ("denied: Your authorization token has expired. Reauthenticate and try again.", Kind.LOGIN, "expired"),
    ("denied: Your Authorization Token has expired. Please run 'aws ecr get-login' to fetch a new one.", Kind.LOGIN,
     "expired"),
    (
        f"pull access denied for {REPOSITORY}, repository does not exist or may require 'docker login': denied: Your "
        "authorization token has expired. Reauthenticate and try again.",
        Kind.LOGIN,
        "expired",
    ),
    # Limits
    ("toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating", Kind.LIMIT,
     "so often"),
    ("toomanyrequests: Rate exceeded", Kind.LIMIT, "so often"),
    ("toomanyrequests: retry-after: 985.86µs, allowed: 44000/minute", Kind.LIMIT, "so often"),
    (
        "failed to copy: httpReadSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/library/"
        "rust/manifests/sha256:de6e: 429 Too Many Requests",
        Kind.LIMIT,
        "so often",
    ),
    (NGINX_413, Kind.TOO_LARGE, "larger than"),
    ("failed to do request: unexpected status: 413 Request Entity Too Large", Kind.TOO_LARGE, "larger than"),
    # Space
    ("write /var/lib/docker/tmp/GetImageBlob063: no space left on device", Kind.FULL, "disk"),
    ("failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device", Kind.FULL,
     "disk"),
    # Names
    ("invalid reference format: repository name must be lowercase", Kind.NAME, "lower case"),
    ("invalid reference format: repository name (Team/hello) must be lowercase", Kind.NAME, "lower case"),
    ("invalid reference format", Kind.NAME, "no name"),
    ("invalid tag format", Kind.NAME, "no name"),
    # Platform
    ("no matching manifest for linux/arm64/v8 in the manifest list entries", Kind.PLATFORM, "platform"),
    ("no matching manifest for linux/amd64 in the manifest list entries: no match for platform in manifest: not found",
     Kind.PLATFORM, "platform"),
    (f"image with reference {IMAGE} was found but does not match the specified platform: wanted linux/amd64, actual: "
     "linux/arm64", Kind.PLATFORM, "platform"),
    (f"image with reference {IMAGE} was found but does not provide any platform", Kind.PLATFORM, "platform"),
    ('image operating system "windows" cannot be used on this platform', Kind.PLATFORM, "platform"),
    # TLS
    ('Get "https://registry.example:5000/v2/": x509: certificate signed by unknown authority', Kind.TLS, "nobody"),
    ('failed to do request: Head "https://r/v2/": tls: failed to verify certificate: x509: certificate signed by '
     "unknown authority", Kind.TLS, "nobody"),
    ('Get "https://r/v2/": x509: certificate has expired or is not yet valid: current time is after', Kind.TLS, "date"),
    ('Get "https://r/v2/": x509: certificate is valid for a.example, not r', Kind.TLS, "another name"),
    ('Get "https://r/v2/": x509: cannot validate certificate for 10.0.0.1 because it doesn\'t contain any IP SANs',
     Kind.TLS, "another name"),
    ('Get "https://r/v2/": x509: certificate relies on legacy Common Name field, use SANs instead', Kind.TLS, "name"),
    ('Get "https://r/v2/": remote error: tls: bad certificate', Kind.TLS, "no secure connection"),
    ('Get "https://r/v2/": http: server gave HTTP response to HTTPS client', Kind.TLS, "plain HTTP"),
    ("tls: first record does not look like a TLS handshake", Kind.TLS, "plain HTTP"),
    ("Client sent an HTTP request to an HTTPS server.", Kind.TLS, "speaks TLS"),
    # Away
    ('Get "https://registry.example:5000/v2/": dial tcp: lookup registry.example on 10.0.0.1:53: no such host',
     Kind.AWAY, "no machine is called registry.example"),
    ("dial tcp: lookup registry-1.docker.io on 127.0.0.53:53: server misbehaving", Kind.AWAY, "name service"),
    ("dial tcp: lookup r on [::1]:53: read udp [::1]:5->[::1]:53: read: connection refused", Kind.AWAY, "name service"),
    ("dial tcp: lookup r on 10.0.2.3:53: read udp 10.0.2.15:33->10.0.2.3:53: i/o timeout", Kind.AWAY, "name service"),
    ('Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused', Kind.AWAY, "nothing listens"),
    ("dial tcp 10.1.2.3:443: connect: no route to host", Kind.AWAY, "no way"),
    ("dial tcp 10.1.2.3:443: i/o timeout", Kind.AWAY, "in time"),
    ("net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
     Kind.AWAY, "in time"),
    ("net/http: TLS handshake timeout", Kind.AWAY, "in time"),
    ("context deadline exceeded", Kind.AWAY, "in time"),
    ("proxyconnect tcp: dial tcp 10.0.0.9:3128: connect: connection refused", Kind.AWAY, "proxy"),
    ("received unexpected HTTP status: 503 Service Unavailable", Kind.AWAY, "in trouble"),
    ("error parsing HTTP 502 response body: invalid character '<' looking for beginning of", Kind.AWAY, "in trouble"),
    ("error parsing HTTP 404 response body: invalid character 'p' after top-level value: \"404 page not found\\n\"",
     Kind.AWAY, "no registry"),
    ("unexpected EOF", Kind.AWAY, "broke off"),
    ('Put "http://r/v2/x/blobs/uploads/1": write tcp 10.0.0.1:4->10.0.0.2:5: write: broken pipe', Kind.AWAY, "broke"),
    ("read tcp 10.0.0.1:4->10.0.0.2:443: read: connection reset by peer", Kind.AWAY, "broke off"),
    # Pushes
    ("blob upload unknown", Kind.BROKEN, "lost"),
    ("blob upload invalid", Kind.BROKEN, "lost"),
    ("error parsing HTTP 416 response body: no error details found in HTTP response body", Kind.BROKEN, "lost"),
    ("filesystem layer verification failed for digest sha256:00", Kind.BROKEN, "not what was asked for"),
    (
        "tag invalid: The image tag '1' already exists in the 'team/hello' repository and cannot be overwritten "
        "because the repository is immutable.",
        Kind.FIXED,
        "lets nobody move it",
    ),
    ("unknown: Failed to process request due to 'hello:1' configured as immutable.", Kind.FIXED, "lets nobody move it"),
    (f"An image does not exist locally with the tag: {REPOSITORY}", Kind.GONE, "no more"),
    ("unsupported media type application/vnd.oci.image.index.v1+json", Kind.FORM, "form"),
    ("something that nobody has seen before", Kind.OTHER, ""),
]  # fmt: skip


@pytest.mark.parametrize(("said", "kind", "word"), SAID, ids=range(len(SAID)))
def test_what_is_said_is_understood(said: str, kind: Kind, word: str) -> None:
    found = why(IMAGE, said)
    assert (found.kind, word in found.sentence) == (kind, True), found


@pytest.mark.parametrize("said", [said for said, _, _ in SAID], ids=range(len(SAID)))
def test_whatever_it_is_there_is_a_sentence_with_the_name_and_something_to_do(said: str) -> None:
    for error in (pull_failure(IMAGE, said), push_failure(IMAGE, said)):
        assert IMAGE in error.detail
        assert error.detail.count("cannot be pu") == 1
        assert error.hint
        assert "{" not in f"{error.detail.replace(said, '')}{error.hint}"
        assert error.slug != "internal"


@given(st.sampled_from(SAID), st.sampled_from(["denied", "no-such-host", "x509", "timeout", "toomanyrequests", "eof"]))
def test_what_a_repository_is_called_changes_nothing(row: tuple[str, Kind, str], name: str) -> None:
    said, kind, _ = row
    image = f"registry.example:5000/{name}/{name}:1"
    said = (
        said.replace(IMAGE, image).replace(REPOSITORY, image.removesuffix(":1")).replace("team/hello", f"{name}/{name}")
    )
    assert why(image, said).kind is kind


@pytest.mark.parametrize(
    ("said", "kind", "slug"),
    [
        ("manifest unknown", RevisionFailed, "image-not-found"),
        ("An image does not exist locally with the tag: x", RevisionFailed, "image-not-found"),
        (HUB_DENIED, RevisionFailed, "image-refused"),
        ("unauthorized: authentication required", RevisionFailed, "registry-login"),
        ("toomanyrequests: no", StartFailed, "registry-limit"),
        ("x509: certificate signed by unknown authority", StartFailed, "registry-tls"),
        ("no such host", StartFailed, "registry-unreachable"),
        ("no matching manifest for linux/amd64", RevisionFailed, "image-platform"),
        ("no space left on device", StorageFull, "storage-full"),
        ("invalid reference format", PilotlightError, "image-name"),
    ],
)
def test_a_pull_is_tried_again_only_where_that_can_help(said: str, kind: type[PilotlightError], slug: str) -> None:
    error = pull_failure(IMAGE, said)
    assert isinstance(error, kind)
    assert (error.slug, error.retryable) == (slug, kind is StartFailed)


@pytest.mark.parametrize(
    ("said", "slug"),
    [
        (HUB_DENIED, "push-refused"),
        ("name unknown: repository name not known to registry", "push-refused"),
        ("tag invalid: it is immutable", "push-refused"),
        ("no basic auth credentials", "registry-login"),
        (NGINX_413, "push-too-large"),
        ("blob upload unknown", "push-failed"),
        ("no space left on device", "push-failed"),
        ("EOF", "registry-unreachable"),
        ("toomanyrequests: no", "registry-limit"),
        ("An image does not exist locally with the tag: x", "image-not-found"),
        ("never heard of it", "push-failed"),
    ],
)
def test_a_push_that_is_refused_says_whose_turn_it_is(said: str, slug: str) -> None:
    assert push_failure(IMAGE, said).slug == slug


def test_with_a_login_the_login_is_at_fault_and_without_one_its_absence() -> None:
    said = "unauthorized: authentication required"
    assert "refused the login" in pull_failure(IMAGE, said, with_login=True).detail
    assert "wants a login" in pull_failure(IMAGE, said, with_login=False).detail


def test_a_digest_that_a_registry_does_not_have_is_no_tag() -> None:
    assert "no image with this digest" in pull_failure(f"{REPOSITORY}@sha256:00", "manifest unknown").detail


def test_a_page_of_html_does_not_fill_the_screen() -> None:
    error = push_failure(IMAGE, f"{NGINX_413}{'<br>' * 500}")
    assert len(error.detail) < SHOWN + 200


def test_a_password_in_an_address_is_not_repeated() -> None:
    error = pull_failure(IMAGE, 'proxyconnect tcp: dial "http://ada:s3cret@proxy.example:3128": EOF')
    assert "s3cret" not in error.detail
    assert "proxy.example" in error.detail


@pytest.mark.parametrize(
    ("image", "registry"),
    [("redis", "docker.io"), ("team/hello:1", "docker.io"), ("ghcr.io/a/b", "ghcr.io"), ("localhost/a", "localhost"),
     ("r:5000/a@sha256:00", "r:5000"), ("docker.io/library/redis", "docker.io")],
)  # fmt: skip
def test_a_registry_is_what_looks_like_a_machine(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def test_a_program_for_another_processor_is_told_at_the_start() -> None:
    said = (
        "OCI runtime create failed: runc create failed: unable to start container process: exec /app: exec format error"
    )
    error = start_failure(IMAGE, Refused(400, said))
    assert (error.slug, "another processor" in error.detail) == ("image-platform", True)


AWAY = "Get https://registry-1.docker.io/v2/: dial tcp: lookup registry-1.docker.io: no such host"


def test_a_name_without_a_registry_is_first_of_all_one_that_the_engine_has_not() -> None:
    error = not_here("shop-api:1", pull_failure("shop-api:1", AWAY), ["redis:7"])
    assert (error.slug, error.status) == ("image-not-here", 503)
    assert error.detail.startswith(
        "the engine has no image shop-api:1, and docker.io could not be asked for it: no mach"
    )
    assert error.hint is not None
    assert "Did you mean" not in error.hint


@pytest.mark.parametrize(
    ("image", "near"),
    [
        ("shop-apy:1", "shop-api:1"),
        ("shop-api:2", "shop-api:1"),
        ("shop-api", "shop-api:1"),
        ("rediss", "redis:latest"),
    ],
)
def test_the_nearest_image_of_the_engine_is_named(image: str, near: str) -> None:
    for said in (AWAY, "pull access denied for x, repository does not exist or may require authorization"):
        error = not_here(image, pull_failure(image, said), ["shop-api:1", "redis:latest", "postgres:16"])
        assert (error.hint or "").startswith(f"Did you mean {near}, which the engine has? ")


def test_who_names_a_registry_is_told_of_the_registry_too() -> None:
    image = "registry.example/team/app:1"
    error = not_here(image, pull_failure(image, "dial tcp: connection refused"), ["team/app:1"])
    assert error.slug == "registry-unreachable"
    assert error.detail.startswith(f"the engine has no image {image}, and {image} cannot be pulled: nothing listens on")


def test_what_a_registry_has_said_itself_stays_as_it_is() -> None:
    image = "registry.example/team/app:1"
    failure = pull_failure(image, "manifest unknown")
    told = (failure.slug, failure.detail, failure.hint)
    error = not_here(image, failure, ["other:1"])
    assert (error.slug, error.detail, error.hint) == told
