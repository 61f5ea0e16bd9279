"""docs/reference/json.md names every field that `--json` prints, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "json.md"
HEADING = re.compile(r"^##+ (.+)$", re.MULTILINE)
FIELD = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


def documented() -> dict[str, set[str]]:
    """The fields of each table, by the words of its heading."""
    parts = HEADING.split(PAGE.read_text("utf-8"))
    return {
        title.replace("`", ""): set(FIELD.findall(text)) for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


DOCUMENTED = documented()
LOOP = DOCUMENTED["runner loop --json"]
RUNS = LOOP | DOCUMENTED["runner runs --json"]


def test_loop(runner):
    runner.write("spec.md", "---\nchecks: ['true']\n---\n# Nothing\n\nDo nothing.\n")
    model = runner.recording({"otherwise": True, "text": "Nothing to do."})
    assert set(runner.json("loop", "spec.md", "--json", "--model", model)) == LOOP


def test_an_error(runner):
    runner.write("spec.md", "---\ncheks: [make]\ntarget: 95\n---\n# Work\n")
    (error,) = runner.json("loop", "spec.md", "--json").values()
    assert set(error) == DOCUMENTED["error"]
    assert all(set(one) == DOCUMENTED["error"] - {"exit_code", "more"} for one in error["more"])


def test_runs(ran):
    (one,) = json.loads(ran("runs", "--json").stdout)
    assert set(one) == RUNS


def test_show(ran):
    found = ran.json("show", "--json")
    assert set(found) == RUNS | DOCUMENTED["runner show --json"]
    assert set(found["limits"]) == DOCUMENTED["limits of runner show --json"]
    assert all(set(one) == {"value", "source"} for one in found["limits"].values())
    assert set(found["history"][0]) == DOCUMENTED["history of runner show --json"]
    assert set(found["checks"][0]) == DOCUMENTED["checks of runner show --json"]


def test_checkpoints_and_diff(ran):
    every = json.loads(ran("checkpoints", "--json").stdout)
    assert all(set(one) == DOCUMENTED["runner checkpoints --json"] for one in every)
    found = ran.json("diff", "--json")
    assert set(found) == DOCUMENTED["runner diff --json"]
    assert all(set(one) == {"path", "kind"} for one in (*found["changed"], *every[1]["changed"]))


def test_verify(ran):
    found = ran.json("log", "verify", "--json")
    assert set(found) == DOCUMENTED["runner log verify --json"]
    parts = DOCUMENTED["journal of runner log verify --json"]
    assert (set(found["journal"]), set(found["log"])) == (parts, parts)


def test_audit_verify(ran):
    found = ran.json("audit", "verify", "--json")
    assert set(found) == DOCUMENTED["runner audit verify --json"]
    assert all(set(one) == {"run", "seq", "hash"} for one in found["heads"])


def test_where_and_clean(ran):
    found = ran.json("where", "--json")
    assert set(found) == DOCUMENTED["runner where --json"]
    assert all(set(one) == {"path", "what", "bytes"} for one in found["owned"])
    assert set(ran.json("clean", "--json")) == DOCUMENTED["runner clean --json"]
    would = ran.json("clean", "--older-than", "0s", "--json")
    assert set(would) == DOCUMENTED["runner clean --json"]
    assert len(would["would_remove"]) == 1


def test_config(runner):
    runner.write("spec.md", "---\nbudget: {usd: 2}\n---\n# Nothing\n\nDo nothing.\n")
    assert runner("budget", "set", "user", "5").returncode == 0
    found = runner.json("config", "spec.md", "--max-cost", "1", "--json")
    assert set(found) == DOCUMENTED["runner config --json"]
    for part in ("settings", "limits", "shared", "keys"):
        assert found[part], part
        assert all(set(one) == DOCUMENTED[f"{part} of runner config --json"] for one in found[part])
    assert set(found["chosen"]) == DOCUMENTED["chosen of runner config --json"]
    assert {name for one in found["limits"] for other in one["replaced"] for name in other} == {"value", "source"}
    assert set(runner.json("config", "--path", "--json")) == {"configuration", "configuration_exists"}


def test_models_and_doctor(ran):
    found = ran.json("models", "--json")
    assert set(found) == DOCUMENTED["runner models --json"]
    assert set(found["chosen"]) == {"model", "why"}
    assert all(set(one) == DOCUMENTED["models of runner models --json"] for one in found["models"])
    found = ran.json("doctor", "--json")
    assert set(found) == DOCUMENTED["runner doctor --json"]
    assert all(set(one) == DOCUMENTED["findings of runner doctor --json"] for one in found["findings"])
