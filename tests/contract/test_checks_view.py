"""Whatever the agent does to tests, configuration or modules, the verdict is that of checkpoint 0's tests on its code.

Real trees in a real shadow git directory, real pytest and unittest.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from runner.checks import SpecChecks, WorkspaceGuard
from runner.errors import WorkspaceError
from runner.ports import Interrupt, Verdict
from runner.spec.checklist import normalised
from runner.spec.model import Check, Spec
from runner.workspace import ShadowWorkspace

PATH = f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin"
PYTEST = Check(name="tests", argv=("python", "-m", "pytest", "-q", "-p", "no:cacheprovider"))
JUNIT = replace(PYTEST, parse="junit", report="{results}/r.xml", argv=(*PYTEST.argv, "--junitxml={results}/r.xml"))
UNITTEST = Check(name="tests", argv=("python", "-m", "unittest", "-q"))

WRONG = "def add(a, b):\n    return a - b\n"
RIGHT = "def add(a, b):\n    return a + b\n"
TESTS = """\
import unittest
from calc import add

class Add(unittest.TestCase):
    def test_add(self):
        self.assertEqual(add(2, 3), 5)

    def test_zero(self):
        self.assertEqual(add(0, 0), 0)
"""


class Vault:
    def mask(self, text: str) -> str:
        return text.replace("hunter2", "[secret:KEY]")


@dataclass
class Bench:
    """A workspace, its checkpoint 0, and the checks of a run on it."""

    root: Path
    scratch: Path
    workspace: ShadowWorkspace
    base: str = ""
    checks: SpecChecks = field(init=False)

    def start(self, files: Mapping[str, str]) -> None:
        self.write(files)
        self.base = self.workspace.snapshot().tree
        self.checks = self.reopened()

    def reopened(self) -> SpecChecks:
        env = {"PATH": PATH, "HOME": str(self.root.parent), "PYTHONPATH": str(self.root)}
        return SpecChecks(self.workspace, self.scratch, env=env, vault=Vault(), normalise=normalised)

    def write(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            full = self.root / path
            full.parent.mkdir(parents=True, exist_ok=True)
            full.write_text(text, "utf-8")

    def verdict(self, *checks: Check, accepted: Mapping[str, str] | None = None, **more) -> Verdict:
        return self.checks.run(
            spec(*checks, **more),
            tree=self.workspace.snapshot().tree,
            base=self.base,
            accepted=accepted or {},
            interrupt=Interrupt(),
        )

    def guard(self, accepted: Callable[[], Mapping[str, str]] = dict) -> WorkspaceGuard:
        protected = self.checks.protection(spec(PYTEST), self.base)
        return WorkspaceGuard(self.workspace, protected, base=self.base, accepted=accepted)


def spec(*checks: Check, **more) -> Spec:
    return Spec(path="spec.md", text="", body="", title="", checks=checks, **more)


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder below `root`: mode and bytes."""
    found = {}
    for path in sorted(root.rglob("*")):
        data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (path.lstat().st_mode, data)
    return found


def why(verdict: Verdict) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in verdict.left_out)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    root = tmp_path / "workspace"
    root.mkdir()
    return Bench(root, tmp_path / "scratch", ShadowWorkspace(root, tmp_path / "state"))


@pytest.fixture
def calc(bench: Bench) -> Bench:
    """A project whose code is wrong and whose tests are right."""
    bench.start({"spec.md": "- [ ] add\n", "calc.py": WRONG, "tests/test_calc.py": TESTS})
    return bench


@pytest.mark.parametrize("check", [PYTEST, JUNIT], ids=["exit", "junit"])
def test_right_code_is_green_and_wrong_code_is_not(calc: Bench, check: Check) -> None:
    red = calc.verdict(check)
    assert red.score == {"exit": 0.0, "junit": 0.5}[check.parse]
    assert red.results[0].failures == ("tests.test_calc.Add::test_add",)
    assert "assertEqual" in red.results[0].tail
    calc.write({"calc.py": RIGHT})
    green = calc.verdict(check)
    assert (green.score, green.left_out, green.self_tested, green.notes) == (1.0, (), False, ())
    assert (green.results[0].passed, green.results[0].total) == (2, 2)


def test_a_test_edited_to_pass_is_still_red_and_the_guard_names_it(calc: Bench) -> None:
    calc.write({"tests/test_calc.py": "def test_add():\n    pass\n"})
    verdict = calc.verdict(JUNIT)
    assert (verdict.score, verdict.notes) == (0.5, ("protected, taken from checkpoint 0: tests/test_calc.py",))
    assert calc.guard().differing() == ("tests/test_calc.py",)


def test_a_deleted_test_is_back_and_the_guard_names_it(calc: Bench) -> None:
    (calc.root / "tests" / "test_calc.py").unlink()
    assert calc.verdict(JUNIT).score == 0.5
    assert calc.guard().differing() == ("tests/test_calc.py",)
    assert calc.guard().look()["tests/test_calc.py"] == ""


def test_a_hundred_added_tests_do_not_dilute_a_failure(calc: Bench) -> None:
    calc.write({"tests/test_more.py": "".join(f"def test_{n}():\n    pass\n" for n in range(100))})
    verdict = calc.verdict(JUNIT)
    assert (verdict.score, verdict.results[0].total) == (0.5, 2)
    assert why(verdict) == {"tests/test_more.py": "is a test, and checkpoint 0 has its own"}


SKIP_ALL = """\
import pytest
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.skip)
def pytest_runtest_makereport(item, call):
    return pytest.TestReport.from_item_and_call(item, pytest.CallInfo.from_call(lambda: None, "call"))
"""
PATCHED = "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n"
FAKE_PYTEST = "import sys\nprint('2 passed in 0.01s')\nsys.exit(0)\n"
FAKE_UNITTEST = "class TestCase:\n    pass\ndef main(**k):\n    pass\n"
STEERING = {
    "conftest.py": SKIP_ALL,
    "tests/conftest.py": SKIP_ALL,
    "pytest.ini": "[pytest]\npython_files = nothing_*.py\n",
    "tox.ini": "[pytest]\naddopts = -k test_zero\n",
    "setup.cfg": "[tool:pytest]\naddopts = -k test_zero\n",
    "pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-k test_zero"\n',
    "sitecustomize.py": PATCHED,
    "usercustomize.py": PATCHED,
    "pytest.py": FAKE_PYTEST,
    "pytest/__init__.py": FAKE_PYTEST,
    "unittest/__init__.py": FAKE_UNITTEST,
    "_pytest/__init__.py": FAKE_PYTEST,
    "difflib.py": PATCHED,
    "__init__.py": PATCHED,
    "tests/__init__.py": PATCHED,
    "evil.pth": "import calc\n",
}


@pytest.mark.parametrize("path", STEERING)
def test_an_added_file_that_steers_has_no_effect_and_is_said(calc: Bench, path: str) -> None:
    calc.write({path: STEERING[path]})
    verdict = calc.verdict(JUNIT)
    assert verdict.score == 0.5
    assert verdict.results[0].failures == ("tests.test_calc.Add::test_add",)
    assert list(why(verdict)) == [path]


def test_an_entry_point_that_passes_for_an_installed_plugin_has_no_effect(calc: Bench) -> None:
    calc.write(
        {
            "evil.py": SKIP_ALL,
            "evil-1.dist-info/METADATA": "Name: evil\nVersion: 1\n",
            "evil-1.dist-info/entry_points.txt": "[pytest11]\nevil = evil\n",
        }
    )
    verdict = calc.verdict(JUNIT)
    assert (verdict.score, list(why(verdict))) == (
        0.5,
        ["evil-1.dist-info/METADATA", "evil-1.dist-info/entry_points.txt"],
    )


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos._exit(0)\n",
        "import unittest\nraise unittest.SkipTest('not today')\n",
        "import unittest\ndef add(a, b):\n    raise unittest.SkipTest('not today')\n",
        "import pytest\ndef add(a, b):\n    pytest.skip('not today')\n",
        "import pytest\ndef add(a, b):\n    pytest.exit('enough', returncode=0)\n",
        "import sys\nprint('2 passed in 0.01s')\nsys.exit(0)\n",
    ],
    ids=["os._exit", "skip the module", "raise SkipTest", "pytest.skip", "pytest.exit", "sys.exit"],
)
@pytest.mark.parametrize("check", [PYTEST, JUNIT], ids=["exit", "junit"])
def test_code_that_ends_or_skips_its_tests_does_not_pass_them(calc: Bench, code: str, check: Check) -> None:
    calc.write({"calc.py": code})
    # pytest.exit in the second test leaves a first one that truly passed.
    assert calc.verdict(check).score == (0.5 if "exit('enough'" in code and check is JUNIT else 0.0)


def test_skips_that_tests_ask_for_count_neither_way(bench: Bench) -> None:
    tests = """\
import unittest, pytest
from calc import add
pytestmark = pytest.mark.filterwarnings("error")
def test_add(): assert add(1, 2) == 3
@pytest.mark.skip
def test_a(): pass
@pytest.mark.skipif(True, reason="not here")
def test_b(): pass
def test_c(): pytest.skip("later")
def test_d(): pytest.importorskip("no_such_module")
@pytest.mark.xfail
def test_e(): raise ValueError
class T(unittest.TestCase):
    @unittest.skip("later")
    def test_f(self): pass
    def test_g(self): self.skipTest("later")
"""
    bench.start({"calc.py": RIGHT, "test_calc.py": tests})
    result = bench.verdict(PYTEST).results[0]
    assert (result.score, result.passed, result.total, result.failures) == (1.0, 1, 1, ())
    assert result.tail.splitlines()[-1] == "runner: 7 skipped"


def test_a_report_written_beforehand_is_not_read(calc: Bench) -> None:
    report = '<testsuites><testsuite><testcase classname="m" name="t"/></testsuite></testsuites>'
    calc.write({"r.xml": report, "results/r.xml": report})
    silent = replace(JUNIT, argv=("true",))
    assert calc.verdict(silent).score == 0.0
    assert calc.verdict(replace(silent, report="r.xml")).score == 0.0
    linked = replace(
        silent, report="{results}/r.xml", argv=("/bin/sh", "-c", "ln -s $PWD/results/r.xml {results}/r.xml")
    )
    assert calc.verdict(linked).score == 0.0
    outside = calc.root.parent / "outside.xml"
    outside.write_text(report, "utf-8")
    for path in (str(outside), "../../outside.xml", ".", "tests"):
        assert calc.verdict(replace(silent, report=path)).score == 0.0
    assert outside.read_text("utf-8") == report


def test_unittest_is_held_to_the_same(bench: Bench) -> None:
    bench.start({"calc.py": WRONG, "test_calc.py": TESTS})
    red = bench.verdict(UNITTEST)
    assert (red.score, red.results[0].failures) == (0.0, ("test_add (test_calc.Add.test_add)",))
    for path in ("unittest/__init__.py", "sitecustomize.py", "test_more.py"):
        bench.write({path: STEERING.get(path, "")})
        assert bench.verdict(UNITTEST).score == 0.0, path
    bench.write({"test_calc.py": ""})
    assert bench.verdict(UNITTEST).score == 0.0
    bench.write({"calc.py": "import os\nos._exit(0)\n"})
    assert bench.verdict(UNITTEST).score == 0.0
    bench.write({"calc.py": RIGHT})
    assert bench.verdict(UNITTEST).score == 1.0


def test_without_tests_the_agents_own_count_and_the_verdict_says_so(bench: Bench) -> None:
    bench.start({"spec.md": "make calc\n"})
    assert bench.verdict(PYTEST).score == 0.0
    bench.write({"calc.py": RIGHT, "tests/conftest.py": "", "tests/test_calc.py": TESTS})
    verdict = bench.verdict(PYTEST)
    assert (verdict.score, verdict.self_tested, verdict.left_out) == (1.0, True, ())


def test_no_checks_is_no_score(bench: Bench) -> None:
    bench.start({"a": ""})
    assert bench.verdict() == Verdict(results=(), score=None)


def test_the_workspace_is_byte_identical_afterwards(calc: Bench) -> None:
    calc.write({"conftest.py": SKIP_ALL, "tests/test_calc.py": "", "calc.py": RIGHT})
    busy = Check(name="writes", argv=("/bin/sh", "-c", "echo x > new; rm -r tests; rm c*.py; mkdir d; chmod 0 d"))
    before = contents(calc.root)
    assert calc.verdict(replace(PYTEST, argv=("python", "-m", "pytest")), busy).score == 1.0
    assert calc.verdict(PYTEST, busy).score == 1.0
    assert contents(calc.root) == before


def test_a_check_leaves_nothing_for_the_next_verdict(calc: Bench) -> None:
    calc.write({"calc.py": WRONG + f"open('conftest.py', 'w').write({SKIP_ALL!r})\n"})
    assert [calc.verdict(JUNIT).score for _ in range(2)] == [0.5, 0.5]


def test_a_folder_of_tests_that_became_a_link_is_not_followed(calc: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "test_calc.py").write_text("def test():\n    pass\n", "utf-8")
    (calc.root / "tests" / "test_calc.py").unlink()
    (calc.root / "tests").rmdir()
    (calc.root / "tests").symlink_to(outside)
    assert calc.verdict(JUNIT).score == 0.5
    assert (outside / "test_calc.py").read_text("utf-8") == "def test():\n    pass\n"
    assert calc.guard().differing() == ("tests/test_calc.py",)


def test_a_folder_of_tests_that_became_a_link_to_itself_is_a_deleted_test(calc: Bench) -> None:
    (calc.root / "tests" / "test_calc.py").unlink()
    (calc.root / "tests").rmdir()
    (calc.root / "tests").symlink_to("tests")
    assert calc.guard().look()["tests/test_calc.py"] == ""
    assert calc.guard().differing() == ("tests/test_calc.py",)
    assert calc.verdict(JUNIT).score == 0.5


def test_an_added_link_out_of_the_workspace_takes_no_part(calc: Bench) -> None:
    (calc.root / "back").symlink_to(calc.root)
    (calc.root / "near").symlink_to("calc.py")
    verdict = calc.verdict(Check(name="links", argv=("/bin/sh", "-c", "test ! -e back && test -e near")))
    assert (verdict.score, list(why(verdict))) == (1.0, ["back"])


def test_a_program_keeps_its_mode_when_it_comes_from_checkpoint_0(bench: Bench) -> None:
    bench.write({"check.sh": "#!/bin/sh\nexit 1\n"})
    (bench.root / "check.sh").chmod(0o755)
    bench.start({})
    bench.write({"check.sh": "#!/bin/sh\nexit 0\n"})
    (bench.root / "check.sh").chmod(0o644)
    assert bench.verdict(Check(name="c", argv=("./check.sh",))).results[0].exit_code == 1


def test_an_accepted_change_counts_until_the_file_changes_again(calc: Bench) -> None:
    shorter = TESTS.replace("add(2, 3), 5", "add(5, 3), 2")
    calc.write({"tests/test_calc.py": shorter})
    accepted = {"tests/test_calc.py": hashlib.sha256(shorter.encode()).hexdigest()}
    assert calc.verdict(PYTEST, accepted=accepted).score == 1.0
    assert calc.guard(lambda: accepted).differing() == ()
    calc.write({"tests/test_calc.py": "def test():\n    pass\n"})
    assert calc.verdict(PYTEST, accepted=accepted).score == 0.0
    assert calc.guard(lambda: accepted).differing() == ("tests/test_calc.py",)


def test_an_accepted_deletion_counts(calc: Bench) -> None:
    (calc.root / "tests" / "test_calc.py").unlink()
    verdict = calc.verdict(PYTEST, accepted={"tests/test_calc.py": ""})
    assert (verdict.score, verdict.results[0].exit_code) == (0.0, 5)
    assert calc.guard(lambda: {"tests/test_calc.py": ""}).differing() == ()


def test_ticks_in_the_spec_are_no_change_and_words_are(calc: Bench) -> None:
    guard = calc.guard()
    before = guard.look()
    calc.write({"spec.md": "- [x] add\n"})
    assert (guard.look(), guard.differing()) == (before, ())
    calc.write({"spec.md": "- [x] nothing\n"})
    assert guard.look()["spec.md"] != before["spec.md"]
    assert guard.differing() == ("spec.md",)


def test_a_change_of_the_same_size_and_time_is_seen(calc: Bench) -> None:
    guard = calc.guard()
    path = calc.root / "tests" / "test_calc.py"
    os.utime(path, ns=(10**18, 10**18))
    before = guard.look()
    path.write_text(TESTS.replace("5)", "1)"), "utf-8")
    os.utime(path, ns=(10**18, 10**18))
    assert guard.look() != before


def test_a_scratch_directory_in_the_workspace_is_refused(bench: Bench) -> None:
    with pytest.raises(WorkspaceError, match="lies in the workspace"):
        SpecChecks(bench.workspace, bench.root / ".scratch", env={}, vault=Vault())
