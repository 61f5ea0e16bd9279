"""Going on with a run: what it began with holds, and nothing on the way is taken for its end."""

from __future__ import annotations

import time

from tests.e2e.conftest import Runner

SAID = {"otherwise": True, "text": "I looked around.\n<promise>COMPLETE</promise>"}


def test_require_verified_refuses_an_open_run_that_began_without_checks(runner: Runner):
    runner.write("spec.md", "# Work\n\nDo it.\n")
    model = runner.recording({**SAID, "delay_ms": 60_000})
    going = runner.start("loop", "spec.md", "--model", model)
    while not list(runner.state.glob("runs/*/log.jsonl")) or not runner.events("CallDispatched"):
        assert going.poll() is None
        time.sleep(0.05)
    going.kill()
    going.wait()
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Work\n\nDo it.\n")
    done = runner("loop", "spec.md", "--require-verified", "--model", runner.recording(SAID))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "--new" in done.stderr
    assert len(runner.events("CallDispatched")) == 1


def test_a_log_repaired_at_a_resume_is_not_taken_for_the_end_of_the_run(runner: Runner):
    runner.write("spec.md", "---\nchecks: ['false']\nstall: none\n---\n# Work\n\nDo it.\n")
    model = runner.recording(SAID)
    assert runner("loop", "spec.md", "-n", "1", "--model", model).returncode == 4
    (log,) = runner.state.glob("runs/*/log.jsonl")
    with log.open("ab") as file:
        file.write(b'{"seq":')
    runner("resume", "last", "-n", "2")
    assert runner.last()["iterations"] == 2
