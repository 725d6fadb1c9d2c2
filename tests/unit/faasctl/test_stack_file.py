"""The stack file: what is taken, and every mistake with its place."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasctl.errors import CliError, Problem
from faasctl.stack import Stack, gateway_in, load_stacks, read_stack
from faasctl.stack_builds import Build, TemplateSource
from faasctl.stack_help import stack_lines

Read = Callable[..., Stack]
Mistakes = Callable[..., list[Problem]]

HELLO = "functions:\n  hello:\n    lang: python3-http\n    handler: ./hello\n"


def spec_of(stack: Stack) -> dict[str, object]:
    return stack.functions[0].spec


def where(problem: Problem) -> tuple[int | None, int | None]:
    assert problem.place is not None
    return problem.place.line, problem.place.column


def test_a_small_file_is_read(read: Read, project: Path) -> None:
    stack = read(HELLO)
    (function,) = stack.functions
    assert (function.name, function.lang, function.handler) == ("hello", "python3-http", project / "hello")
    assert function.spec == {"name": "hello"}


def test_an_openfaas_file_is_read_with_all_its_keys(read: Read) -> None:
    stack = read(
        """
version: 1.0
provider: {name: openfaas, gateway: https://faas.example.org}
functions:
  hello:
    lang: python3-http@1.2
    handler: ./hello
    image: example/hello:latest
    fprocess: python index.py
    environment: {DEBUG: true, COUNT: 3, EMPTY: }
    secrets: [token]
    constraints: ["zone=a"]
    labels: {team: vision}
    annotations: {topic: cron}
    limits: {memory: 128Mi, cpu: 100m}
    requests: {memory: 64Mi}
    readonly_root_filesystem: true
    namespace: dev
"""
    )
    assert stack.gateway == "https://faas.example.org"
    assert stack.functions[0].lang == "python3-http"
    assert spec_of(stack) == {
        "name": "hello",
        "fprocess": "python index.py",
        "environment": {"DEBUG": "true", "COUNT": "3", "EMPTY": ""},
        "secrets": ["token"],
        "constraints": ["zone=a"],
        "labels": {"team": "vision"},
        "annotations": {"topic": "cron"},
        "limits": {"memory": "128Mi", "cpu": "100m"},
        "requests": {"memory": "64Mi"},
        "readonly_root_filesystem": True,
        "namespace": "dev",
    }


def test_pilotlights_keys_come_in_the_servers_units(read: Read) -> None:
    own = """    concurrency: 8
    timeout: 1m30s
    queue: 50
    body_limit: 32Mi
    contract: asgi
    debug: yes
    scale: {min: 1, max: 4, idle: 5m, target: 0.5}
"""
    assert spec_of(read(HELLO + own)) == {
        "name": "hello",
        "concurrency": 8,
        "timeout_seconds": 90.0,
        "queue": 50,
        "body_limit_mib": 32.0,
        "contract": "asgi",
        "debug": True,
        "scale": {"min": 1, "max": 4, "idle_seconds": 300.0, "target": 0.5},
    }


def test_a_null_is_as_if_the_key_were_absent(read: Read) -> None:
    assert spec_of(read(HELLO + "    labels:\n    timeout: ~\n")) == {"name": "hello"}


def test_a_ready_made_image_needs_no_source(read: Read) -> None:
    stack = read("functions:\n  figlet:\n    image: example/figlet\n    skip_build: true\n")
    assert (stack.functions[0].handler, stack.functions[0].image) == (None, "example/figlet")


def test_an_unknown_key_names_the_nearest_one(mistakes: Mistakes) -> None:
    (problem,) = mistakes(HELLO + "    enviroment: {}\n")
    assert problem.slug == "stack-unknown-key"
    assert where(problem) == (5, 5)
    assert problem.place is not None
    assert "did you mean `environment`" in problem.place.remark
    assert problem.place.source == "    enviroment: {}"


def test_a_short_section_lists_its_keys(mistakes: Mistakes) -> None:
    (problem,) = mistakes(HELLO + "    limits: {disk: 1}\n")
    assert problem.help == ("Known here: memory, cpu, nvidia.com/gpu, amd.com/gpu, intel.com/gpu",)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("concurrency: four", 'hello: `concurrency` must be a whole number from 1 to 1000, not "four"'),
        ("concurrency: 0", "from 1 to 1000"),
        ("concurrency: 1.5", "a whole number"),
        ("timeout: soon", "a duration"),
        ("timeout: 0s", "a duration"),
        ("body_limit: 5Gi", "a size up to 4Gi"),
        ("contract: grpc", "one of http, lambda"),
        ("debug: maybe", "true or false"),
        ("limits: {memory: lots}", "hello: `limits.memory` must be an amount of memory"),
        ("limits: 5", "hello: `limits` must be a mapping, not a single value"),
        ("secrets: token", "must be a list of secrets' names, not a single value"),
        ("secrets: [token, {a: b}]", "must be a text, not a mapping"),
        ("secrets: [~]", "not nothing"),
        ("environment: {1A: b}", "a variable's name"),
        ("environment: [A=b]", "must be a mapping of variables to values, not a list"),
        ("namespace: Dev_1", "a DNS label"),
        ("scale: {target: 0}", "a number from 0.000001 to 1000000"),
        ("scale: {min: 3, max: 2}", "`scale` needs min <= max, not min 3 and max 2"),
        ("scale: {min: 30}", "not min 30 and max 20"),
    ],
)
def test_a_wrong_value_says_what_is_expected(mistakes: Mistakes, line: str, expected: str) -> None:
    (problem,) = mistakes(f"{HELLO}    {line}\n")
    assert expected in problem.detail
    assert where(problem)[0] == 5


def test_a_key_that_stands_twice_names_its_first_line(mistakes: Mistakes) -> None:
    (problem,) = mistakes(f"{HELLO}  hello:\n    lang: x\n")
    assert (problem.slug, where(problem)) == ("stack-duplicate-key", (5, 3))
    assert problem.place is not None
    assert problem.place.remark == "first on line 2"


def test_all_mistakes_are_told_at_once(mistakes: Mistakes) -> None:
    found = mistakes("provider: {nam: x}\nfunctions:\n  hello:\n    langs: x\n  B:\n    lang: y\n")
    assert [(problem.slug, where(problem)[0]) for problem in found] == [
        ("stack-unknown-key", 1),
        ("stack-missing-key", 3),
        ("stack-unknown-key", 4),
        ("stack-type", 5),
    ]


def test_a_mistyped_key_is_told_once_and_not_as_missing_too(mistakes: Mistakes) -> None:
    (problem,) = mistakes("functions:\n  hello:\n    lnag: python3-http\n    handler: ./hello\n")
    assert (problem.slug, where(problem)) == ("stack-unknown-key", (3, 5))
    assert problem.place is not None
    assert problem.place.remark == "did you mean `lang`?"


def test_a_handler_that_is_not_there_is_told_with_its_place(mistakes: Mistakes) -> None:
    (problem,) = mistakes("functions:\n  hello:\n    lang: python3-http\n    handler: ./nowhere\n")
    assert (problem.slug, where(problem)) == ("stack-handler", (4, 14))


def test_a_handler_that_is_a_file_is_told(mistakes: Mistakes) -> None:
    (problem,) = mistakes(HELLO.replace("./hello", "./hello/handler.py"))
    assert "must be a folder" in problem.detail


@pytest.mark.parametrize("text", ["", "# nothing\n", "functions:\n", "functions: {}\n", "provider: {name: openfaas}\n"])
def test_a_file_without_functions_says_so(mistakes: Mistakes, text: str) -> None:
    (problem,) = mistakes(text)
    assert problem.slug == "stack-empty"


@pytest.mark.parametrize(
    ("text", "expected", "line"),
    [
        ("functions: [", "not YAML", 1),
        ("a: b\n\tc: d\n", "a tab indents", 2),
        ("a: *x\n", "not YAML", 1),
        ("functions:\n  hello:\n    <<: 1\n", "`<<` takes a mapping", 3),
        ("functions:\n  hello: &a\n    <<: *a\n", "into itself", 2),
        ("a: !!python/object:os.system x\n", "tags", 1),
        ("a: \x07\n", "control character", 1),
        ('a: "\\UFFFFFFFF"\n', "not YAML", None),
        ("[" * 2000, "nested deeper", 1),
        ("a: b\n---\nc: d\n", "several documents", 2),
        ("a: \ue123\n", "private use", 1),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_place(
    mistakes: Mistakes, text: str, expected: str, line: int | None
) -> None:
    (problem,) = mistakes(text)
    assert expected in problem.detail
    assert problem.place is not None
    assert problem.place.line == line


def test_a_huge_file_is_refused(mistakes: Mistakes) -> None:
    (problem,) = mistakes("# " + "x" * (1 << 20))
    assert "at most" in problem.detail


def test_bytes_that_are_not_utf8_are_refused(project: Path) -> None:
    with pytest.raises(CliError) as caught:
        read_stack(b"functions:\n  \xff\xfe: x\n", project / "stack.yaml", {})
    assert caught.value.problems[0].place is not None
    assert caught.value.problems[0].place.line == 2


def test_environment_files_win_over_the_stack_file(read: Read, project: Path) -> None:
    (project / "a.yml").write_text("environment: {A: from-a, B: from-a}\n")
    (project / "b.yml").write_text("environment: {B: from-b}\n")
    stack = read(HELLO + "    environment: {A: inline, C: inline}\n    environment_file: [a.yml, b.yml]\n")
    assert spec_of(stack)["environment"] == {"A": "from-a", "B": "from-b", "C": "inline"}


def test_a_mistake_in_an_environment_file_names_that_file(mistakes: Mistakes, project: Path) -> None:
    (project / "a.yml").write_text("environment: {A: [1]}\n")
    (problem,) = mistakes(HELLO + "    environment_file: [a.yml]\n")
    assert problem.place is not None
    assert problem.place.file == str(project / "a.yml")


@pytest.mark.parametrize("file", ["nowhere.yml", "hello", "/dev/zero"])
def test_an_environment_file_that_cannot_be_read_is_told(mistakes: Mistakes, file: str) -> None:
    (problem,) = mistakes(f"{HELLO}    environment_file: [{file}]\n")
    assert problem.slug in ("stack-environment-file", "stack-syntax")


def test_an_empty_environment_file_adds_nothing(read: Read, project: Path) -> None:
    (project / "a.yml").write_text("")
    stack = read(HELLO + "    environment: {A: b}\n    environment_file: [a.yml]\n")
    assert spec_of(stack)["environment"] == {"A": "b"}


def test_what_has_no_effect_is_said(read: Read) -> None:
    (note,) = read(HELLO + "    platforms: linux/arm64\n").notes
    assert "stack.yaml:5: `platforms` has no effect" in note


def test_how_an_image_is_built_is_the_functions(read: Read, project: Path) -> None:
    (project / "token").write_text("t")
    given = "    build_options: [dev, extra]\n    build_args: {A: b, N: 1}\n    build_secrets: {pip.token: token}\n"
    (function,) = read(HELLO + given).functions
    assert function.build == Build(
        options=("dev", "extra"), args=(("A", "b"), ("N", "1")), secrets=(("pip.token", project / "token"),)
    )
    assert function.spec == {"name": "hello"}


def test_a_build_secret_must_be_a_small_file(mistakes: Mistakes, project: Path) -> None:
    (project / "large").write_text("x" * 5001)
    nowhere, large = mistakes(HELLO + "    build_secrets: {a: nowhere, b: large}\n")
    assert nowhere.slug == large.slug == "stack-build-secret"
    assert "build secret a" in nowhere.detail
    assert "there is no such file" in nowhere.detail
    assert "more than 5000 bytes" in large.detail


def test_a_projects_own_template_goes_with_its_functions(read: Read, project: Path) -> None:
    other = "  other:\n    lang: ruby@v1\n    handler: ./other\n"
    (project / "template/ruby").mkdir(parents=True)
    functions = read(HELLO + other).functions
    assert [function.template for function in functions] == [None, project / "template/ruby"]


def test_where_templates_come_from_is_read(read: Read) -> None:
    text = "configuration:\n  templates:\n  - name: ruby\n    source: https://git.example.org/t.git#v1\n  - name: go\n"
    stack = read(HELLO + text)
    assert stack.templates == (
        TemplateSource(name="ruby", source="https://git.example.org/t.git#v1"), TemplateSource(name="go"),
    )  # fmt: skip
    assert stack.notes == ()


def test_a_template_that_was_not_fetched_yet_is_noted(read: Read) -> None:
    text = HELLO.replace("python3-http", "ruby") + "configuration: {templates: [{name: ruby, source: x}]}\n"
    (note,) = read(text).notes
    assert "template ruby is not here yet; fetch it: faasctl template pull stack" in note


def test_a_template_without_a_name_is_a_mistake(mistakes: Mistakes) -> None:
    (problem,) = mistakes(HELLO + "configuration:\n  templates: [{source: x}]\n")
    assert problem.slug == "stack-template"


def test_copied_paths_must_lie_in_the_project(mistakes: Mistakes, project: Path) -> None:
    (problem,) = mistakes(HELLO + "configuration:\n  copy: [../]\n")
    assert problem.slug == "stack-copy"
    assert "outside" in problem.detail


def test_a_copied_path_that_is_not_there_is_told(mistakes: Mistakes) -> None:
    (problem,) = mistakes(HELLO + "configuration:\n  copy: [./common]\n  templates: [{name: x, source: y}]\n")
    assert (problem.slug, where(problem)) == ("stack-copy", (6, 10))


def test_functions_are_chosen_by_name_and_by_pattern(read: Read) -> None:
    stack = read(HELLO + "  other:\n    lang: python3-http\n    handler: ./other\n")
    assert [each.name for each in stack.select((), None)] == ["hello", "other"]
    assert [each.name for each in stack.select(("other",), None)] == ["other"]
    assert [each.name for each in stack.select((), "h*")] == ["hello"]


def test_choosing_what_is_not_there_names_the_nearest(read: Read) -> None:
    with pytest.raises(CliError) as caught:
        read(HELLO).select(("helo",), None)
    assert caught.value.problems[0].help == ("did you mean `hello`?",)
    with pytest.raises(CliError, match="matches"):
        read(HELLO).select((), "x*")


def test_a_file_with_mistakes_still_names_its_server() -> None:
    text = b"provider: {name: x, gateway: http://a:1}\nnonsense: 1\n"
    assert gateway_in(text, "stack.yaml", {}) == "http://a:1"
    assert gateway_in(b"[", "stack.yaml", {}) is None


def test_the_help_page_has_every_key() -> None:
    page = "\n".join(stack_lines())
    for key in ("environment_file:", "concurrency:", "idle:", "gateway:", "copy:"):
        assert key in page


yaml_words = st.sampled_from([
    "functions", "hello", "lang", "handler", "scale", "min", "environment", "provider", "gateway", "configuration",
    "copy", "python3-http", "./hello", "${HOME}", "${X:-a}", "${", "$$", "*a", "&a", "!!int", "~", "1", "true", "-1e9",
    "0x_", "1:99", "2001-99-99", "<<", "'", '"', "|", ">", "%YAML 9.9", "---", "...", "?", "\x85", "\u2028", "\ufeff",
])  # fmt: skip
yaml_glue = st.sampled_from([": ", "\n", "\n  ", "\n    ", "- ", "[", "]", "{", "}", ", ", " ", "#", "\t", "\r\n"])
yaml_like = st.lists(st.one_of(yaml_words, yaml_glue), max_size=40).map("".join)


@given(text=st.one_of(st.text(max_size=200), yaml_like))
def test_any_text_is_a_stack_or_a_list_of_problems(text: str) -> None:
    try:
        stack = read_stack(text.encode("utf-8", "surrogatepass"), Path("stack.yaml"), {"HOME": "/h: #"})
    except CliError as error:
        assert error.problems
        assert all(problem.detail and problem.place for problem in error.problems)
    else:
        assert stack.functions


@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_stack_or_a_list_of_problems(data: bytes) -> None:
    try:
        read_stack(data, Path("stack.yaml"), {})
    except CliError as error:
        assert error.problems


def test_aliases_and_merges_mean_what_they_name(read: Read) -> None:
    stack = read(
        """
x-common: &common
  lang: python3-http
  labels: &team {team: vision}
functions:
  hello: {<<: *common, handler: ./hello}
  other:
    <<: [{queue: 5}, *common, {queue: 9}]
    handler: ./other
    labels: {<<: *team, tier: a}
"""
    )
    hello, other = stack.functions
    assert (hello.lang, hello.spec["labels"]) == ("python3-http", {"team": "vision"})
    assert other.spec == {"name": "other", "queue": 5, "labels": {"team": "vision", "tier": "a"}}


def test_what_stands_there_wins_over_what_is_merged(read: Read) -> None:
    text = HELLO + "    queue: 7\n    <<: {queue: 1, timeout: 5}\n"
    assert spec_of(read(text)) == {"name": "hello", "queue": 7, "timeout_seconds": 5.0}


def test_a_mistake_in_what_is_merged_is_told_where_it_stands(mistakes: Mistakes) -> None:
    (problem,) = mistakes("x-a: &a\n  concurrency: four\n" + HELLO + "    <<: *a\n")
    assert where(problem) == (2, 16)
    assert "hello: `concurrency`" in problem.detail


def test_a_small_file_cannot_stand_for_a_huge_one(mistakes: Mistakes) -> None:
    many = "".join(f"  f{number}: {{<<: [{', '.join(['*a'] * 500)}]}}\n" for number in range(20))
    keys = ", ".join(f"x{number}: 1" for number in range(1000))
    problems = mistakes(f"x-a: &a {{{keys}}}\nfunctions:\n{many}")
    assert any("stand for more than" in problem.detail for problem in problems)


def test_cors_comes_in_the_servers_units(read: Read) -> None:
    cors = "{origins: https://a.example, methods: [GET], headers: X-A, credentials: true, max_age: 10m}"
    assert spec_of(read(HELLO + f"    cors: {cors}\n    auth: key\n")) == {
        "name": "hello",
        "cors": {
            "origins": ["https://a.example"],
            "methods": ["GET"],
            "headers": ["X-A"],
            "credentials": True,
            "max_age_seconds": 600,
        },
        "auth": "key",
    }


@pytest.mark.parametrize(
    ("cors", "slug"),
    [
        ("{methods: GET}", "stack-missing-key"),
        ("{origins: [a.example]}", "stack-type"),
        ("{origins: https://a.example/path}", "stack-type"),
        ("{origins: '*', credentials: true}", "stack-cors"),
        ("{origins: '*', max_age: 2d}", "stack-type"),
    ],
)
def test_cors_that_no_browser_would_take_is_refused(mistakes: Mistakes, cors: str, slug: str) -> None:
    (problem,) = mistakes(HELLO + f"    cors: {cors}\n")
    assert problem.slug == slug
    assert where(problem)[0] == 5


@pytest.mark.parametrize("key", ["gpu", "model", "batching", "triggers"])
def test_a_key_of_a_later_version_says_so(mistakes: Mistakes, key: str) -> None:
    (problem,) = mistakes(HELLO + f"    {key}: {{}}\n")
    assert problem.slug == "stack-not-yet"
    assert "not there yet" in problem.detail


def test_quantities_are_passed_on_as_they_were_written(read: Read) -> None:
    limits = {"memory": "1.5Gi", "cpu": "0.5", "nvidia.com/gpu": "1"}
    written = ", ".join(f"{name}: {value}" for name, value in limits.items())
    stack = read(HELLO + f"    limits: {{{written}}}\n    requests: {{memory: 1e6, cpu: 500m}}\n")
    assert spec_of(stack)["limits"] == limits
    assert spec_of(stack)["requests"] == {"memory": "1e6", "cpu": "500m"}


@pytest.mark.parametrize("limits", ["memory: 1ki", "memory: '0'", "cpu: half", "cpu: -1", "nvidia.com/gpu: 0.5"])
def test_what_is_no_quantity_is_refused(mistakes: Mistakes, limits: str) -> None:
    (problem,) = mistakes(HELLO + f"    limits: {{{limits}}}\n")
    assert problem.slug == "stack-type"


def test_functions_are_chosen_by_a_regular_expression(read: Read) -> None:
    stack = read(HELLO + "  other:\n    lang: x\n    handler: ./other\n")
    assert [function.name for function in stack.select((), "^h|zzz", regex=True)] == ["hello"]
    with pytest.raises(CliError, match="no regular expression"):
        stack.select((), "(", regex=True)
    with pytest.raises(CliError, match="matches"):
        stack.select((), "^x", regex=True)


def test_several_files_are_one_stack(project: Path) -> None:
    (project / "a.yaml").write_text(HELLO + "provider: {gateway: http://a:1}\n")
    (project / "b.yaml").write_text(HELLO.replace("hello", "other"))
    stack = load_stacks([str(project / "a.yaml"), str(project / "b.yaml")], {})
    assert [function.name for function in stack.functions] == ["hello", "other"]
    assert stack.gateway == "http://a:1"
    assert stack.reads == (project / "a.yaml", project / "b.yaml")


def test_several_files_tell_the_mistakes_of_all_of_them(project: Path) -> None:
    for name in ("a", "b"):
        (project / f"{name}.yaml").write_text(HELLO + "    timout: 1\n")
    with pytest.raises(CliError) as caught:
        load_stacks([str(project / "a.yaml"), str(project / "b.yaml")], {})
    assert [problem.place.file for problem in caught.value.problems if problem.place] == [
        str(project / "a.yaml"),
        str(project / "b.yaml"),
    ]


def test_one_name_in_two_files_is_a_mistake(project: Path) -> None:
    for name in ("a", "b"):
        (project / f"{name}.yaml").write_text(HELLO)
    with pytest.raises(CliError, match="stands in"):
        load_stacks([str(project / "a.yaml"), str(project / "b.yaml")], {})


@pytest.mark.parametrize("key", ["lang", "handler"])
@pytest.mark.parametrize("value", ["", "~", "${UNSET}"])
def test_a_key_without_a_value_is_missing(mistakes: Mistakes, key: str, value: str) -> None:
    lines = {"lang": "python3-http", "handler": "./hello"} | {key: value}
    text = "".join(f"    {name}: {given}\n" for name, given in lines.items())
    (problem,) = mistakes(f"functions:\n  hello:\n{text}")
    assert (problem.slug, problem.detail) == ("stack-missing-key", f"hello: `{key}` is missing")
