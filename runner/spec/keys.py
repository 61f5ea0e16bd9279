"""Every key a spec may write, with its type, default and an example: the parser, its hints and the reference agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runner.errors import closest


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key: `kind` and `default` in words, `example` as YAML of the whole front matter it stands in."""

    name: str
    kind: str
    default: str
    example: str


def _key(name: str, kind: str, default: str, example: str) -> Key:
    return Key(name=name, kind=kind, default=default, example=example)


KEYS: tuple[Key, ...] = (
    _key("checks", "a list of checks", "no checks", "checks: [pytest -q]"),
    _key("checks[].name", "text", "the command", "checks: [{name: tests, run: pytest -q}]"),
    _key("checks[].run", "a command", "required", "checks: [{run: [pytest, -q]}]"),
    _key(
        "checks[].parse",
        "exit, junit, tap or number",
        "exit",
        'checks: [{run: "node --test --test-reporter=tap", parse: tap}]',
    ),
    _key(
        "checks[].report",
        "path of the JUnit XML",
        "required by parse: junit",
        "checks: [{run: 'pytest --junitxml={results}/r.xml', parse: junit, report: '{results}/r.xml'}]",
    ),
    _key("checks[].out_of", "a number above 0", "1", "checks: [{run: ./score.sh, parse: number, out_of: 100}]"),
    _key("checks[].weight", "a number above 0", "1", "checks: [{run: pytest -q, weight: 3}]"),
    _key("checks[].timeout", "a duration", "10m", "checks: [{run: pytest -q, timeout: 2m}]"),
    _key("checks[].creates", "true or false", "false", "checks: [{run: ./fizz 15, creates: true}]"),
    _key("target", "a number from 0 to 1", "1", "target: 0.9"),
    _key("budget", "a mapping of limits", "the built-in limits", "budget: {usd: 2.50, iterations: 10}"),
    _key("budget.usd", "US dollars, or none", "5.00", "budget: {usd: 2.50}"),
    _key("budget.tokens", "a whole number, or none", "none", "budget: {tokens: 2_000_000}"),
    _key("budget.calls", "a whole number, or none", "none", "budget: {calls: 200}"),
    _key("budget.iterations", "a whole number, or none", "25", "budget: {iterations: 10}"),
    _key("budget.steps", "a whole number, or none", "100", "budget: {steps: 40}"),
    _key("budget.duration", "a duration, or none", "8h", "budget: {duration: 1h30m}"),
    _key("budget.deadline", "a time of day or a date and time, or none", "none", 'budget: {deadline: "07:00"}'),
    _key("budget.idle", "a duration, or none", "none", "budget: {idle: 10m}"),
    _key("stall", "a whole number above 0, none, or a mapping", "3", "stall: 5"),
    _key("stall.iterations", "a whole number above 0, or none", "3", "stall: {iterations: 5}"),
    _key("promise", "one line of text, or true or false", "false", "promise: true"),
    _key("model", "a model's name", "see --model", "model: openai/gpt-5-mini"),
    _key("models", "a list of models", "no model but `model`", "models: [openai/gpt-5-mini, desk/llama]"),
    _key("protect", "a list of globs", "none", 'protect: ["tests/**", setup.cfg]'),
    _key("setup", "a command, a list of commands, or a mapping", "none", "setup: [npm ci]"),
    _key("setup.run", "a command, or a list of commands", "required", "setup: {run: [npm ci]}"),
    _key("setup.inputs", "a list of globs", "none", "setup: {run: [npm ci], inputs: [package-lock.json]}"),
    _key("services", "a list of services", "none", "services: [redis-server --port 7777]"),
    _key("services[].name", "text", "the command", "services: [{name: redis, run: redis-server}]"),
    _key("services[].run", "a command", "required", "services: [{run: [redis-server, --port, '7777']}]"),
    _key("services[].ready", "a TCP port", "none", "services: [{run: redis-server --port 7777, ready: 7777}]"),
    _key("services[].timeout", "a duration", "30s", "services: [{run: redis-server, ready: 6379, timeout: 1m}]"),
    _key("workspace", "a path", "the folder runner was started in", "workspace: ../app"),
    _key("completion", "a mapping", "see below", "completion: {on_false_claim: stop}"),
    _key("completion.on_false_claim", "continue or stop", "continue", "completion: {on_false_claim: stop}"),
)


def _level(prefix: str) -> tuple[str, ...]:
    names = (key.name.removeprefix(prefix) for key in KEYS if key.name.startswith(prefix))
    return tuple(name for name in names if "." not in name and "[" not in name)


TOP = _level("")
CHECK = _level("checks[].")
BUDGET = _level("budget.")
STALL = _level("stall.")
SETUP = _level("setup.")
SERVICE = _level("services[].")
COMPLETION = _level("completion.")

# what other loop runners call the same thing
_ELSEWHERE = {
    "cmd": "run",
    "command": "run",
    "completion_promise": "promise",
    "cost": "usd",
    "limits": "budget",
    "max_budget_usd": "usd",
    "max_calls": "calls",
    "max_cost": "usd",
    "max_duration": "duration",
    "max_iterations": "iterations",
    "max_runs": "iterations",
    "max_steps": "steps",
    "max_tokens": "tokens",
    "max_turns": "steps",
    "fallback": "models",
    "fallbacks": "models",
    "protected": "protect",
    "tests": "checks",
    "verify": "checks",
}


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name somebody who wrote `word` most likely meant, or None."""
    plain = word.lower().replace("-", "_")
    names = tuple(names)
    if plain in names:
        return plain
    if (meant := _ELSEWHERE.get(plain)) in names:
        return meant
    return closest(plain, names)


def advice(word: str, names: tuple[str, ...]) -> str:
    """What to write instead of the unknown key `word`, where `names` are allowed."""
    if (meant := nearest(word, names)) is not None:
        return f"did you mean '{meant}'?"
    if names is TOP and (meant := nearest(word, BUDGET)) is not None:
        return f"write it under budget: 'budget: {{{meant}: …}}'"
    return f"known keys here: {', '.join(names)}"
