"""The walk of a model call names functions that exist, in the order in which a real call goes through them."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

from runner.testing.provider import ScriptedProvider

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "design" / "walk-of-a-call.md"
STATION = re.compile(r"`(runner/[\w/]+\.py):([\w.]+)`")

# Runs the command line with a note of every function of runner that is called, in order.
NOTED = """
import sys
from pathlib import Path
called = []
def note(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(ROOT + "/runner/"):
        called.append(code.co_filename[len(ROOT) + 1:] + ":" + code.co_qualname)
sys.setprofile(note)
from runner.__main__ import main
try:
    main()
finally:
    sys.setprofile(None)
    Path(OUT).write_text("\\n".join(called))
"""


def stations() -> list[tuple[str, str]]:
    return STATION.findall(PAGE.read_text("utf-8"))


def first_not_passed(walk: list[str], called: list[str]) -> str | None:
    """The first station of `walk` that `called` does not pass after the one before."""
    rest = iter(called)
    return next((station for station in walk if station not in rest), None)


def test_every_function_of_the_walk_exists():
    assert len(stations()) > 30
    for file, name in stations():
        found: object = importlib.import_module(file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))
        for part in name.split("."):
            found = getattr(found, part)
        function = found.fget if isinstance(found, property) else found
        assert callable(function)
        assert Path(inspect.getsourcefile(inspect.unwrap(function)) or "") == ROOT / file, f"{name} is not in {file}"


def test_a_real_call_goes_that_way(tmp_path):
    out, workspace = tmp_path / "called.txt", tmp_path / "workspace"
    workspace.mkdir()
    script = f"ROOT = {str(ROOT)!r}\nOUT = {str(out)!r}\n{NOTED}"
    with ScriptedProvider() as provider:
        env = {**os.environ, "OPENAI_BASE_URL": provider.url, "RUNNER_STATE_DIR": str(tmp_path / "state")}
        env["PYTHONPATH"] = str(ROOT)
        argv = [sys.executable, "-c", script, "loop", "-p", "say hi", "--model", "openai/gpt-5-mini", "-n", "1"]
        done = subprocess.run(argv, cwd=workspace, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert provider.billed, done.stdout + done.stderr
    called = out.read_text("utf-8").splitlines()
    walk = [f"{file}:{name}" for file, name in stations()]
    # the profile sees calls into the first function once; what follows begins anew with each step
    assert first_not_passed(walk, called[called.index(walk[0]) :]) is None


def test_a_station_out_of_order_is_seen():
    assert first_not_passed(["a", "b"], ["a", "x", "b"]) is None
    assert first_not_passed(["b", "a"], ["a", "x", "b"]) == "a"
