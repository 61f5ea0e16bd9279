"""Fifty thousand random shell texts: what the policy allows, beside what bash and sh really run in bubblewrap.

Promised: of the texts that are allowed none runs a program that is not allowed, runs it with other words than the
facts say, or writes a file they do not name; of the texts of allowed programs in plain words, quotes, `&&`, `||`, `|`,
`;` at least 95 of 100 are allowed; and three weakened deciders are found out by the same texts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from runner.values import Ruling
from tests.policy import fuzz
from tests.policy.judge import HERE, Judge, rulebook
from tests.policy.truth import Truth, missing, truths

FULL = 50_000
EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "policy.md"
RECORDED = HERE / "recorded.jsonl"
_CHUNK = 500
_LEAST = 0.95


@dataclass(kw_only=True)
class Chunk:
    """What came of some texts."""

    seed: int
    texts: int = 0
    runs: int = 0
    rulings: dict[str, int] = field(default_factory=dict[str, int])
    forbidden: int = 0
    plain: int = 0
    plain_allowed: int = 0
    cpu_s: float = 0.0
    bypasses: list[str] = field(default_factory=list[str])
    misread: list[str] = field(default_factory=list[str])
    weakened: dict[str, int] = field(default_factory=dict[str, int])
    examples: dict[str, str] = field(default_factory=dict[str, str])


def told(texts: Sequence[str], shells: Sequence[str]) -> dict[str, list[tuple[str, Truth]]]:
    """The truths of texts, by text."""
    found: dict[str, list[tuple[str, Truth]]] = {text: [] for text in texts}
    for shell in shells:
        for text, truth in zip(texts, truths(texts, shell), strict=True):
            found[text].append((shell, truth))
    return found


def run(seed: int, count: int = _CHUNK) -> Chunk:
    """Try the texts of one seed: all in bash, every second seed's in sh as well."""
    judge = Judge(rulebook(HERE / "fuzz.yaml"), HERE / "corpus")
    texts = list(dict.fromkeys(fuzz.texts(seed, count)))
    began = time.process_time()
    rulings = Counter(judge.shell(text).value for text in texts)
    cpu_s = time.process_time() - began
    shells = ("bash", "dash") if seed % 2 else ("bash",)
    seen = told(texts, shells)
    chunk = Chunk(seed=seed, texts=len(texts), runs=len(texts) * len(shells), rulings=dict(rulings), cpu_s=cpu_s)
    chunk.forbidden = sum(
        any(argv[0] not in fuzz.ALLOWED for _, truth in ways for argv in truth.ran) for ways in seen.values()
    )
    chunk.bypasses = [str(one) for one in fuzz.bypasses(lambda text: judge.shell(text) is Ruling.ALLOW, seen)]
    chunk.misread = fuzz.misread(judge, seen)
    for name, decide in fuzz.WEAKENED.items():
        found = fuzz.bypasses(decide, seen)
        chunk.weakened[name] = len(found)
        if found:
            chunk.examples[name] = min((one.text for one in found), key=len)
    plain = list(dict.fromkeys(fuzz.plain(seed, count // 4)))
    chunk.plain = len(plain)
    chunk.plain_allowed = sum(judge.shell(text) is Ruling.ALLOW for text in plain)
    return chunk


def _commit() -> str:
    argv = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(argv, cwd=EVIDENCE.parents[1], capture_output=True, text=True, check=False).stdout.strip()


@dataclass(frozen=True)
class Report:
    """A whole run."""

    seed: int
    seconds: int
    chunks: tuple[Chunk, ...]

    @property
    def green(self) -> bool:
        """Whether every promise held."""
        weak = all(sum(chunk.weakened[name] for chunk in self.chunks) for name in fuzz.WEAKENED)
        faults = any(chunk.bypasses or chunk.misread for chunk in self.chunks)
        return weak and not faults and self.allowed_of_plain >= _LEAST

    @property
    def allowed_of_plain(self) -> float:
        return sum(chunk.plain_allowed for chunk in self.chunks) / sum(chunk.plain for chunk in self.chunks)

    def text(self) -> str:
        texts = sum(chunk.texts for chunk in self.chunks)
        rulings: Counter[str] = Counter()
        for chunk in self.chunks:
            rulings.update(chunk.rulings)
        examples = {name: text for chunk in self.chunks for name, text in chunk.examples.items()}
        lines = [
            f"| texts, all of them run by bash, in bubblewrap | {texts} |",
            f"| runs, sh (dash) included | {sum(chunk.runs for chunk in self.chunks)} |",
            f"| decided allow, ask, deny | {', '.join(str(rulings[name]) for name in ('allow', 'ask', 'deny'))} |",
            f"| texts in which a program ran that is not allowed | {sum(chunk.forbidden for chunk in self.chunks)} |",
            f"| of these allowed | {sum(len(chunk.bypasses) for chunk in self.chunks)} |",
            f"| allowed, and ran or wrote other things than the facts say | {sum(len(c.misread) for c in self.chunks)} |",
            f"| plain texts of allowed programs that are allowed | {100 * self.allowed_of_plain:.2f}% |",
            f"| CPU time of a decision, mean | {1000 * sum(c.cpu_s for c in self.chunks) / texts:.2f} ms |",
        ]
        for name in fuzz.WEAKENED:
            shown = f", such as `{examples[name]!r}`" if name in examples else ""
            count = sum(chunk.weakened[name] for chunk in self.chunks)
            lines.append(
                f"| weakened on purpose, by {name}: allowed all the same | {count}{shown.replace('|', chr(92) + '|')} |"
            )
        return "\n".join(("| | |", "|---|---|", *lines))

    def write(self, path: Path) -> None:
        state = "every promise held" if self.green else "NOT green"
        told = f"{datetime.now(UTC).date()}, commit {_commit()}, `python -m tests.soak.policy --seed {self.seed}`"
        path.write_text(
            "# What shell text is allowed, and what it runs: the last full run\n\n"
            f"{told}, {self.seconds} s, {state}. What is tried stands in `tests/soak/policy.py` and"
            f" `tests/policy/fuzz.py`, the policy in `tests/policy/fuzz.yaml`.\n\n{self.text()}\n"
        )
        figures = {"commit": _commit(), "seed": self.seed, "seconds": self.seconds, "green": self.green}
        path.with_suffix(".json").write_text(
            json.dumps({**figures, "chunks": [asdict(chunk) for chunk in self.chunks]}, indent=1) + "\n"
        )


def record(seed: int, count: int) -> None:
    """Write down texts in which something ran that is not allowed: what the tests go by without bubblewrap."""
    texts = list(dict.fromkeys(fuzz.texts(seed, count)))
    with RECORDED.open("w", encoding="utf-8") as file:
        for start in range(0, len(texts), _CHUNK):
            for text, ways in told(texts[start : start + _CHUNK], ("bash", "dash")).items():
                if any(argv[0] not in fuzz.ALLOWED for _, truth in ways for argv in truth.ran):
                    json.dump({"text": text, **{shell: truth.ran for shell, truth in ways}}, file)
                    file.write("\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run it all; 0 when every promise held."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.policy", description=__doc__)
    parser.add_argument("--texts", type=int, default=FULL)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--record", type=int, help="instead, write down what so many texts ran, for the tests")
    options = parser.parse_args(argv)
    if why := missing():
        print(f"nothing was run: {why}", file=sys.stderr)
        return 2
    if options.record:
        record(options.seed, options.record)
        return 0
    seed: int = options.seed
    print(f"seed {seed}, {options.texts} texts", flush=True)
    began = time.monotonic()
    # repeated texts are run once: a few more chunks make up for them
    wanted = -(-options.texts * 103 // 100 // _CHUNK)
    chunks: list[Chunk] = []
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        for chunk in pool.map(run, (seed * 1_000 + n for n in range(wanted))):
            chunks.append(chunk)
            _say(chunk, chunks, wanted)
    report = Report(seed, round(time.monotonic() - began), tuple(chunks))
    print(report.text(), flush=True)
    if options.texts >= FULL:
        report.write(EVIDENCE)
    return 0 if report.green else 1


def _say(chunk: Chunk, chunks: Sequence[Chunk], wanted: int) -> None:
    for line in _faults(chunk):
        print(f"  WRONG, seed {chunk.seed}: {line}", flush=True)
    if len(chunks) % 10 == 0:
        print(f"  {len(chunks) * _CHUNK} of {wanted * _CHUNK}", flush=True)


def _faults(chunk: Chunk) -> Iterator[str]:
    yield from chunk.bypasses[:5]
    yield from chunk.misread[:5]


if __name__ == "__main__":
    sys.exit(main())
