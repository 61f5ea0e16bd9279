"""What a fresh environment gets: both installers agree on one set, found at once, with litellm as it is pinned."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = {"": [], "litellm": PROJECT["optional-dependencies"]["litellm"]}
FORBIDDEN = {"1.82.7", "1.82.8", "1.107.0"}
"""Releases of litellm that were tampered with."""

Set = Mapping[str, str]


@pytest.fixture(scope="module", autouse=True)
def index() -> None:
    """An index of packages to ask, whichever pip is configured for; without one there is nothing to resolve."""
    asked = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--ignore-installed", "msgspec"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        pytest.skip(f"no index of packages answers: {done.stderr.strip()[-200:]}")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    return place / "bin" / "python"


def target(extra: str) -> str:
    return f"{ROOT}[{extra}]" if extra else str(ROOT)


def with_pip(python: Path, extra: str) -> tuple[Set, str]:
    report = python.parent / f"report-{extra}.json"
    command = [str(python), "-m", "pip", "install", "--dry-run", "--report", str(report), "--no-input", target(extra)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [one["metadata"] for one in json.loads(report.read_text())["install"]]
    every = {str(canonicalize_name(one["name"])): str(one["version"]) for one in found}
    assert every.pop(canonicalize_name(PROJECT["name"])) == PROJECT["version"]
    return every, done.stdout + done.stderr


def with_uv(python: Path, extra: str) -> Set:
    command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--python", str(python), target(extra)]
    # the certificates that this machine trusts, as pip takes them
    env = {**os.environ, "UV_SYSTEM_CERTS": "true"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    # runner itself is ` + name @ file://…`
    found = re.findall(r"^ \+ ([^= ]+)==([^ \n]+)", done.stderr, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def wrong(found: Set, extra: str) -> list[str]:
    """What of a set is not what the project asks for."""
    wanted = [Requirement(line) for line in (*PROJECT["dependencies"], *EXTRAS[extra])]
    said = [str(one) for one in wanted if found.get(canonicalize_name(one.name), "") not in one.specifier]
    litellm = found.get("litellm")
    if (litellm is not None) != (extra == "litellm") or litellm in FORBIDDEN:
        said.append(f"litellm {litellm}")
    return said


@pytest.mark.timeout(600)
@pytest.mark.parametrize("extra", EXTRAS)
def test_pip_and_uv_find_one_set_at_once_with_litellm_at_its_pin(fresh: Path, extra: str):
    pips, said = with_pip(fresh, extra)
    assert wrong(pips, extra) == []
    assert "looking at multiple versions" not in said, "pip had to try: a bound is missing"
    assert with_uv(fresh, extra) == pips


def test_the_pin_of_litellm_is_exact_and_none_of_the_stolen_releases():
    pin = next(one for one in map(Requirement, EXTRAS["litellm"]) if one.name == "litellm")
    (exact,) = pin.specifier
    assert exact.operator == "=="
    assert exact.version not in FORBIDDEN
    assert "mcp" in EXTRAS["litellm"], "litellm needs it and does not say so"


@pytest.mark.parametrize("version", ["1.106.1", "1.50.0", "1.107.0", "1.82.7", "1.82.8"])
def test_another_litellm_would_be_seen(version: str):
    names = [Requirement(line).name for line in (*PROJECT["dependencies"], *EXTRAS["litellm"])]
    here: dict[str, str] = {canonicalize_name(name): metadata.version(name) for name in names}
    assert wrong(here, "litellm") == []
    assert wrong(here | {"litellm": version}, "litellm") != []
    assert wrong(here, "") != [], "the core alone must not bring it"
