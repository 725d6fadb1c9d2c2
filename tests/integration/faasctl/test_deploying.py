"""up, build and deploy: from a folder to a URL, and what is said when it does not get there."""

import io
import tarfile

from tests.integration.faasctl.scripted import BUILT, Cli, Reply, Request, Scripted, deployed


def test_up_uploads_the_source_and_prints_the_url_alone(project: Cli, server: Scripted) -> None:
    ran = project("up", "hello")
    assert (ran.code, ran.out) == (0, f"{server.url}/function/hello\n")
    upload = server.request("POST", "/api/v1/builds")
    assert upload.query == {"name": "hello", "template": "python3-http"}
    with tarfile.open(fileobj=io.BytesIO(upload.body)) as tar:
        assert tar.getnames() == ["handler.py"]


def test_up_tells_its_story_in_lines_on_stderr(project: Cli) -> None:
    lines = [line.split("s hello: ")[1] for line in project("up", "hello").err.splitlines()]
    assert lines == [
        "uploaded 1 file, 44 B",
        "environment: 3f9c1a is there already",
        "built: environment 3f9c1a reused",
        "proved: one replica answered (claim 0.5 · load 4.6 · init 0.6 · listen 0.4)",
        "live: revision 1",
    ]


def test_up_says_what_was_given_differently_from_what_was_asked_for(project: Cli, server: Scripted) -> None:
    note = "limits.cpu: 1m is less than a container can have; it has 10m"
    server.answers["PUT /api/v1/functions/hello"] = Reply.json(deployed(notes=[note]))
    assert project("up", "hello").err.splitlines()[-1].endswith(f"hello: note: {note}")


def test_up_deploys_what_was_built_with_the_stack_files_words(project: Cli, server: Scripted) -> None:
    project.write(
        "stack.yaml",
        "functions:\n  hello:\n    lang: python3-http\n    handler: ./hello\n    timeout: 5s\n    labels: {a: b}\n",
    )
    assert project("up", "--env", "A=1", "--label", "c=d").code == 0
    assert server.request("PUT", "/api/v1/functions/hello").json() == {
        "name": "hello",
        "image": "bundle/hello@sha256:abc",
        "timeout_seconds": 5.0,
        "labels": {"a": "b", "c": "d"},
        "environment": {"A": "1"},
    }


def test_up_does_all_functions_in_order(project: Cli, server: Scripted) -> None:
    ran = project("up")
    assert ran.out.splitlines() == [f"{server.url}/function/hello", f"{server.url}/function/other"]


def test_an_unchanged_function_is_said_to_be(project: Cli, server: Scripted) -> None:
    server.answers["PUT /api/v1/functions/hello"] = Reply.json(deployed(unchanged=True, revision=7, phases={}))
    ran = project("up", "hello")
    assert ran.code == 0
    assert ran.err.splitlines()[-1].endswith("hello: unchanged (revision 7)")


def test_up_as_json_is_one_document_and_no_talk(project: Cli, server: Scripted) -> None:
    ran = project("up", "--json")
    assert ran.err == ""
    names = [(each["name"], each["revision"], each["unchanged"]) for each in ran.json()["functions"]]
    assert names == [("hello", 1, False), ("other", 1, False)]
    assert ran.json()["functions"][0]["url"] == f"{server.url}/function/hello"


def test_a_failed_build_shows_the_users_own_line(project: Cli, server: Scripted) -> None:
    problem = {
        "type": "handler-syntax",
        "detail": "handler.py is not valid Python 3.11: '(' was never closed",
        "hint": "close it",
        "file": "handler.py",
        "line": 2,
        "column": 12,
    }
    server.answers["POST /api/v1/builds"] = Reply.lines({"event": "failed", "problem": problem})
    server.answers["GET /api/v1/functions/hello"] = Reply.json({"name": "hello", "revision": 4})
    ran = project("up", "hello")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.partition("error[")[2].splitlines() == [
        "handler-syntax]: hello: handler.py is not valid Python 3.11: '(' was never closed",
        "  --> hello/handler.py:2:12",
        "   |",
        " 2 |     return 'hi'",
        "   |            ^",
        "  = help: close it",
        "  = state: nothing changed, revision 4 keeps serving",
    ]


def test_paths_are_shown_from_where_the_user_stands(project: Cli, server: Scripted) -> None:
    problem = {
        "type": "requirement-not-found",
        "detail": "no",
        "file": "requirements.txt",
        "line": 1,
        "source": "pilow",
    }
    server.answers["POST /api/v1/builds"] = Reply.lines({"event": "failed", "problem": problem})
    (project.folder / "deep").mkdir()
    project.folder = project.folder / "deep"
    ran = project("up", "hello", "-f", "../stack.yaml")
    assert "--> ../hello/requirements.txt:1\n   |\n 1 | pilow\n" in ran.err


def test_a_revision_that_fails_keeps_the_old_one_and_says_so(project: Cli, server: Scripted) -> None:
    state = "revision 5 is kept as failed, revision 4 keeps serving"
    server.answers["PUT /api/v1/functions/hello"] = Reply.problem(
        422, "init-failed", "`init` raised KeyError", file="handler.py", line=1, source="def handle", state=state
    )
    ran = project("deploy", "hello")
    assert ran.code == 1
    assert "error[init-failed]: hello: `init` raised KeyError\n  --> hello/handler.py:1\n" in ran.err
    assert f"  = state: {state}\n" in ran.err


def test_a_failure_keeps_no_other_function_from_being_deployed(project: Cli, server: Scripted) -> None:
    server.answers["PUT /api/v1/functions/hello"] = Reply.problem(422, "init-failed", "no", state="nothing changed")
    ran = project("up")
    assert (ran.code, ran.out) == (1, f"{server.url}/function/other\n")
    assert ran.err.count("error[init-failed]: hello: no") == 1
    assert ran.err.endswith("Deployed: other. Not deployed: hello.\n")


def test_a_server_that_refuses_the_password_is_not_asked_for_the_next_function(project: Cli, server: Scripted) -> None:
    server.answers["PUT /api/v1/functions/hello"] = Reply.problem(401, "credentials-refused", "no")
    ran = project("up")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.endswith("Deployed: none. Not deployed: hello. Not tried: other.\n")
    assert not [each for each in server.requests if each.path == "/api/v1/functions/other"]


def test_build_goes_on_after_a_failure(project: Cli, server: Scripted) -> None:
    project.write("hello/handler.py", "x")
    (project.folder / "hello" / "link").symlink_to("/etc/hostname")
    ran = project("build")
    assert (ran.code, ran.out) == (1, "bundle/hello@sha256:abc\n")
    assert ran.err.endswith("Built: other. Not built: hello.\n")


def test_a_failure_as_json_is_a_problem_on_stderr_and_the_rest_on_stdout(project: Cli, server: Scripted) -> None:
    server.answers["PUT /api/v1/functions/other"] = Reply.problem(422, "init-failed", "no", state="nothing changed")
    ran = project("up", "--json")
    assert [each["name"] for each in ran.json()["functions"]] == ["hello"]
    assert '"type": "init-failed"' in ran.err


def test_a_build_whose_stream_just_ends_says_that_the_server_died(project: Cli, server: Scripted) -> None:
    server.answers["POST /api/v1/builds"] = Reply.lines({"event": "progress", "step": "environment", "message": "x"})
    ran = project("build", "hello")
    assert ran.code == 1
    assert "error[build-interrupted]" in ran.err


def test_a_build_that_is_cut_says_that_the_server_went_away(project: Cli, server: Scripted) -> None:
    torn = Reply(200, b'{"event": "progr', content_type="application/x-ndjson", cut=True)
    server.answers["POST /api/v1/builds"] = torn
    ran = project("build", "hello")
    assert ran.code == 1
    assert "error[server-gone]" in ran.err


def test_build_prints_the_reference(project: Cli, server: Scripted) -> None:
    ran = project("build", "hello")
    assert ran.out == "bundle/hello@sha256:abc\n"
    assert not [each for each in server.requests if each.method == "PUT"]


def test_an_unchanged_folder_is_sent_as_the_same_bytes(project: Cli, server: Scripted) -> None:
    project("build", "hello")
    first = server.request("POST", "/api/v1/builds").body
    (project.folder / "hello" / "handler.py").touch()
    project("build", "hello")
    assert server.request("POST", "/api/v1/builds").body == first


def test_deploy_takes_a_reference_without_a_stack_file(cli: Cli, server: Scripted) -> None:
    server.answers["PUT /api/v1/functions/hello"] = Reply.json(deployed())
    ran = cli("deploy", "--name", "hello", "--image", "bundle/hello@sha256:abc", "-n", "dev", "--secret", "token")
    assert (ran.code, ran.out) == (0, f"{server.url}/function/hello\n")
    request = server.request("PUT", "/api/v1/functions/hello")
    assert request.query == {"namespace": "dev"}
    expected = {"name": "hello", "image": "bundle/hello@sha256:abc", "namespace": "dev", "secrets": ["token"]}
    assert request.json() == expected


def test_an_image_goes_with_one_function_of_a_stack_file(project: Cli, server: Scripted) -> None:
    assert project("deploy", "--image", "x").code == 2
    assert project("deploy", "--image", "x", "hello").code == 0
    assert server.request("PUT", "/api/v1/functions/hello").json()["image"] == "x"


def test_nothing_is_sent_when_the_stack_file_is_wrong(project: Cli, server: Scripted) -> None:
    project.write("stack.yaml", "functions:\n  hello:\n    lang: x\n    handler: ./hello\n    enviroment: {}\n")
    ran = project("deploy")
    assert ran.code == 2
    assert "  --> stack.yaml:5:5\n" in ran.err
    assert "1 error in stack.yaml, nothing was sent" in ran.err
    assert server.requests == []


def test_without_a_stack_file_the_next_step_is_said(cli: Cli) -> None:
    ran = cli("up")
    assert ran.code == 2
    assert "error[stack-missing]" in ran.err
    assert "faasctl new hello" in ran.err


def test_a_link_out_of_the_folder_is_refused_before_anything_is_sent(project: Cli, server: Scripted) -> None:
    (project.folder / "hello" / "passwd").symlink_to("/etc/passwd")
    ran = project("up", "hello")
    assert ran.code == 1
    assert "error[source-refused]" in ran.err
    assert [request for request in server.requests if request.method != "GET"] == []


def test_an_upload_that_is_refused_in_the_middle_shows_the_servers_reason(project: Cli, server: Scripted) -> None:
    server.answers["POST /api/v1/builds"] = Reply.problem(
        413, "too-large", "more than 256 MiB", state="nothing changed"
    )
    ran = project("up", "hello")
    assert ran.code == 1
    assert "error[too-large]: hello: more than 256 MiB" in ran.err


def test_copied_paths_are_uploaded_and_notes_are_said(project: Cli, server: Scripted) -> None:
    project.write("common/util.py", "")
    project.write(
        "stack.yaml",
        "functions:\n  hello:\n    lang: python3-http\n    handler: ./hello\n    platforms: linux/arm64\n"
        "configuration:\n  copy: [./common]\n",
    )
    ran = project("build")
    assert "note: stack.yaml:5: `platforms` has no effect" in ran.err
    with tarfile.open(fileobj=io.BytesIO(server.request("POST", "/api/v1/builds").body)) as tar:
        assert tar.getnames() == ["common/util.py", "handler.py"]


def test_a_ready_made_image_is_deployed_and_not_built(cli: Cli, server: Scripted) -> None:
    cli.write("stack.yaml", "functions:\n  fig:\n    image: example/fig\n    skip_build: true\n")
    server.answers["PUT /api/v1/functions/fig"] = Reply.json(deployed("fig", applied=False))
    ran = cli("up")
    assert ran.code == 0
    assert "no router has taken it yet" in ran.err
    assert cli("build", "fig").code == 1


def test_a_function_that_new_made_can_be_deployed(cli: Cli, server: Scripted) -> None:
    def build(request: Request) -> Reply:
        return Reply.lines({**BUILT, "reference": f"bundle/{request.query['name']}@sha256:1"})

    server.answers["POST /api/v1/builds"] = build
    for name in ("one", "two"):
        assert cli("new", name).code == 0
        server.answers[f"PUT /api/v1/functions/{name}"] = Reply.json(deployed(name))
    assert cli("new", "two").code == 1
    assert cli("up").out.splitlines() == [f"{server.url}/function/one", f"{server.url}/function/two"]


def test_a_name_that_cannot_be_one_is_answered_with_one_that_can(cli: Cli) -> None:
    ran = cli("new", "My_Shop")
    assert ran.code == 2
    assert "faasctl new my-shop" in ran.err


def test_new_keeps_the_rest_of_a_stack_file(cli: Cli) -> None:
    text = "# mine\nfunctions:\n    a:\n        image: x\n        skip_build: true\n\nprovider:\n    name: openfaas\n"
    cli.write("stack.yaml", text)
    assert cli("new", "b").code == 0
    changed = (cli.folder / "stack.yaml").read_text()
    assert changed.startswith("# mine\nfunctions:\n    a:\n        image: x\n        skip_build: true\n    b:\n")
    assert changed.endswith("\nprovider:\n    name: openfaas\n")


def test_a_projects_own_template_is_uploaded_with_the_function(project: Cli, server: Scripted) -> None:
    project.write("template/python3-http/template.yml", "language: python3-http\n")
    project.write("template/python3-http/Dockerfile", "FROM scratch\n")
    server.answers["GET /api/v1/info"] = Reply.json({"name": "pilotlight", "version": "0.1.0", "provider": "docker"})
    assert project("up", "hello", "--build-arg", "A=1", "-o", "dev").code == 0
    upload = server.request("POST", "/api/v1/builds")
    wanted = {"name": "hello", "template": "python3-http", "layout": "template", "options": "dev", "build_args": "A=1"}
    assert upload.query == wanted
    with tarfile.open(fileobj=io.BytesIO(upload.body)) as tar:
        assert tar.getnames() == ["handler/handler.py", "template/Dockerfile", "template/template.yml"]


def test_a_server_of_processes_uses_its_own_template_of_that_name_and_that_is_said(
    project: Cli, server: Scripted
) -> None:
    project.write("template/python3-http/Dockerfile", "FROM scratch\n")
    ran = project("up", "hello")
    assert ran.code == 0
    assert "note: template/python3-http makes images and this server runs processes; it uses its own" in ran.err
    assert server.request("POST", "/api/v1/builds").query == {"name": "hello", "template": "python3-http"}
