"""What is protected, and how much of a file that is."""

import pytest

from runner.checks import Protection, protected_paths, protection
from runner.checks.names import matches, program_of_tests, words_of
from runner.checks.steering import left_out, own_tests
from runner.spec.model import Check, Spec


def spec(*commands: str, protect: tuple[str, ...] = (), path: str = "spec.md") -> Spec:
    checks = tuple(Check(name=text, argv=("/bin/sh", "-c", text)) for text in commands)
    return Spec(path=path, text="", body="", title="", checks=checks, protect=protect)


def protect(files: dict[str, str], *commands: str, patterns: tuple[str, ...] = ()) -> Protection:
    return protection(
        spec(*commands, protect=patterns),
        files,
        read=lambda path: files[path].encode(),
        normalise=lambda text: text.replace("[x]", "[ ]"),
    )


def out(protected: Protection, added: dict[str, str], foreign: frozenset[str] = frozenset()) -> set[str]:
    return set(left_out(protected, added, read=lambda path: added[path].encode(), foreign=foreign))


def test_spec_tests_configuration_and_named_files_are_protected_and_code_is_not() -> None:
    base = [
        "spec.md", "src/app.py", "README.md", "tests/test_app.py", "tests/data/in.json", "app_test.go", "web/a.test.ts",
        "conftest.py", "pyproject.toml", "scripts/check.sh", "golden/one.txt", "Makefile", "sitecustomize.py",
    ]  # fmt: skip
    found = protected_paths(spec("pytest -q", "./scripts/check.sh --fast", protect=("golden/",)), base)
    assert found == set(base) - {"src/app.py", "README.md", "Makefile"}


def test_a_pattern_with_a_bang_gives_the_work_back_but_never_the_spec() -> None:
    base = ["spec.md", "app.py", "tests/test_app.py"]
    assert protected_paths(spec("python app.py --selftest", protect=("!app.py", "!spec.md")), base) == {
        "spec.md",
        "tests/test_app.py",
    }


def test_what_a_named_program_reads_is_protected_too() -> None:
    assert "Makefile" in protected_paths(spec("make test"), ["Makefile"])
    assert "package.json" in protected_paths(spec("npm test"), ["package.json"])
    assert "mypy.ini" in protected_paths(spec("python -m mypy src"), ["mypy.ini"])


def test_patterns_and_plugins_of_the_settings_are_protected() -> None:
    files = {
        "pyproject.toml": '[tool.pytest.ini_options]\npython_files = ["check_*.py"]\naddopts = "-p helpers.plugin"\n',
        "conftest.py": 'pytest_plugins = ["support.extra"]\n',
        "check_one.py": "",
        "helpers/plugin.py": "",
        "support/extra.py": "",
        "support/code.py": "",
    }
    assert protect(files, "pytest").paths == set(files) - {"support/code.py"}


def test_a_pattern_of_unittest_discovery_is_protected() -> None:
    assert (
        "verify_a.py" in protect({"verify_a.py": "", "a.py": ""}, "python -m unittest discover -p 'verify_*.py'").paths
    )
    assert "testing.py" in protect({"testing.py": ""}, "python -m unittest").paths


def test_a_dependency_in_pyproject_is_no_tampering_and_a_test_option_is() -> None:
    before = '[project]\nname = "a"\n[tool.pytest.ini_options]\naddopts = "-q"\n'
    protected = protect({"pyproject.toml": before}, "pytest", "ruff check")
    same = protected.digest("pyproject.toml", before.replace('"a"', '"a"\ndependencies = ["x"]').encode())
    assert same == protected.digest("pyproject.toml", before.encode())
    assert protected.digest("pyproject.toml", before.replace("-q", "-k nothing").encode()) != same
    assert protected.digest("pyproject.toml", (before + '[tool.ruff]\nexclude = ["."]\n').encode()) != same
    assert protected.digest("pyproject.toml", b"[broken") != same
    assert protected.digest("pyproject.toml", None) == ""


def test_scripts_of_package_json_are_protected_and_dependencies_are_not() -> None:
    protected = protect({"package.json": "{}"}, "npm test")
    one = protected.digest("package.json", b'{"scripts": {"test": "jest"}}')
    assert one == protected.digest("package.json", b'{"scripts": {"test": "jest"}, "dependencies": {"a": "1"}}')
    assert one != protected.digest("package.json", b'{"scripts": {"test": "true"}}')


def test_ticks_in_the_spec_do_not_count_and_words_do() -> None:
    protected = protect({"spec.md": ""}, "pytest")
    assert protected.digest("spec.md", b"- [ ] one") == protected.digest("spec.md", b"- [x] one")
    assert protected.digest("spec.md", b"- [ ] one") != protected.digest("spec.md", b"- [ ] two")


def test_additions_that_steer_take_no_part_beside_tests_of_checkpoint_0() -> None:
    protected = protect({"tests/test_a.py": "", "app.py": "", "src/pkg/__init__.py": ""}, "pytest")
    added = dict.fromkeys(
        [
            "conftest.py", "tests/conftest.py", "sitecustomize.py", "usercustomize.py", "pytest.py", "_pytest/__init__.py",
            "_pytest/main.py", "json.py", "src/unittest/__init__.py", "pytest.ini", "tox.ini", ".coveragerc", "x.pth",
            "evil.dist-info/entry_points.txt", "tests/test_more.py", "tests/__init__.py", "__init__.py", "test_top.py",
            "sub/.git/config", "pytest_evil.py", "requests.py",
        ],
        "",
    )  # fmt: skip
    assert out(protected, added, frozenset({"requests"})) == set(added)


def test_additions_that_do_not_steer_stay() -> None:
    protected = protect({"tests/test_a.py": "", "app.py": ""}, "pytest")
    added = {
        "src/new.py": "",
        "src/pkg/json.py": "",
        "docs/a.md": "",
        "model.pth": "\0" * 10,
        "json/data.txt": "",
        "q.py": "",
    }
    assert out(protected, added) == set()


def test_an_added_pyproject_stays_unless_it_configures_tests() -> None:
    protected = protect({"tests/test_a.py": ""}, "pytest")
    assert out(protected, {"pyproject.toml": '[project]\nname = "a"\n'}) == set()
    assert out(protected, {"pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-k x'\n"}) == {"pyproject.toml"}


def test_without_tests_at_the_start_the_agents_own_count_and_its_settings_with_them() -> None:
    protected = protect({"spec.md": ""}, "pytest")
    added = {
        "tests/test_a.py": "",
        "tests/conftest.py": "",
        "pyproject.toml": "[tool.pytest]\n",
        "sitecustomize.py": "",
    }
    assert out(protected, added) == {"sitecustomize.py"}
    assert own_tests(protected, added)
    assert not own_tests(protected, {"src/app.py": ""})


def test_a_word_of_a_check_is_no_folder_the_agent_is_meant_to_fill() -> None:
    protected = protect({"tests/test_a.py": "", "Makefile": ""}, "make test")
    assert out(protected, {"test/test_b.py": ""}) == {"test/test_b.py"}


def test_a_file_that_a_check_names_and_nobody_has_yet_is_the_agents_to_write() -> None:
    protected = protect({"tests/test_a.py": ""}, "pytest tests/test_new.py")
    assert out(protected, {"tests/test_new.py": "", "tests/test_other.py": ""}) == {"tests/test_other.py"}
    assert own_tests(protected, ["tests/test_new.py"])
    looked_at = protect({"a": ""}, "grep -q hello hello.txt && python hello.py")
    assert not own_tests(looked_at, ["hello.txt"])
    assert own_tests(looked_at, ["hello.py"])


@pytest.mark.parametrize(
    ("path", "pattern", "covers"),
    [
        ("golden/a/b.txt", "golden/", True),
        ("x/golden/b.txt", "golden", True),
        ("a.lock", "*.lock", True),
        ("deep/a.lock", "*.lock", True),
        ("data/a/b.csv", "data/*.csv", False),
        ("data/a/b.csv", "data/**/*.csv", True),
        ("data/b.csv", "data/**/*.csv", True),
        ("sub/data/b.csv", "./data/b.csv", False),
    ],
)
def test_protect_patterns_read_like_gitignore(path: str, pattern: str, covers: bool) -> None:
    assert matches(path, pattern) is covers


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("pytest -q", "pytest"),
        ("python -m pytest tests", "pytest"),
        ("python3.12 -I -m unittest discover", "unittest"),
        (".venv/bin/pytest", "pytest"),
        ("pytest || true", ""),
        ("python run_pytest.py -m pytest", ""),
        ("make test", ""),
    ],
)
def test_a_test_program_is_known_only_when_certain(command: str, program: str) -> None:
    assert program_of_tests(("/bin/sh", "-c", command)) == program


def test_a_text_that_no_shell_would_read_still_has_words() -> None:
    assert words_of(("/bin/sh", "-c", "echo 'open")) == ["echo", "'open"]
