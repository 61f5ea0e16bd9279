"""Secrets: the keys a process holds, and how they are kept out of every text.

`Keys` is the one place where key values live. `Vault` replaces known values where text enters a run.
`mask_patterns` covers what merely looks like a key, for log, reports and screen only: a fixture that a model writes
into a file reaches the file as it is.

The handover imports this before runner starts itself anew, so what only `Vault` needs is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

# the checkers know this name; typing itself takes 4 ms to import
TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

SHORTEST = 8
# Parts of a base64 text shorter than this occur by chance.
_SHORTEST_BASE64 = 12


class Keys:
    """Key values by name, each with the place it came from. Never shown, never iterated by accident."""

    __slots__ = ("_sources", "_values")

    def __init__(self, values: Mapping[str, str] | None = None, source: str = "environment") -> None:
        self._values = dict(values or {})
        self._sources = dict.fromkeys(self._values, source)

    def __repr__(self) -> str:
        return f"Keys({', '.join(self.names)})"

    def __reduce__(self) -> str:
        msg = "keys are not copied out of their process"
        raise TypeError(msg)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the keys held, sorted."""
        return tuple(sorted(self._values))

    def get(self, name: str) -> str | None:
        """Give one key's value to the adapter that sends it."""
        return self._values.get(name)

    def source(self, name: str) -> str:
        """Say where a key came from; KeyError when it is not held."""
        return self._sources[name]

    def add(self, values: Mapping[str, str], source: str, *, override: bool = False) -> None:
        """Hold more keys; one held already stays, unless `override`."""
        for name, value in values.items():
            if override or name not in self._values:
                self._values[name] = value
                self._sources[name] = source

    def vault(self, more: Mapping[str, str] | None = None) -> Vault:
        """Make the vault that masks every key held, and `more` (names the user listed)."""
        return Vault({**(more or {}), **self._values})


class Vault:
    """Known secret values, and the writing of `[secret:NAME]` in their place.

    Found as they are and in the encodings tools and protocols use: base64 (any alignment, both alphabets), hex,
    URL-quoted, JSON-escaped. A value that cannot be masked without spoiling ordinary text is `ignored`: shorter than
    8 characters, or part of its own mark.
    """

    __slots__ = ("_forms", "_spaced", "ignored", "names")

    def __init__(self, known: Mapping[str, str]) -> None:
        forms: dict[str, str] = {}
        kept: list[str] = []
        ignored: list[str] = []
        for name, raw in sorted(known.items()):
            value = raw.strip()
            if not value:
                continue
            if len(value) < SHORTEST or value in _mark(name):
                ignored.append(name)
                continue
            kept.append(name)
            for form in _forms(value):
                forms.setdefault(form, name)
        self.names: tuple[str, ...] = tuple(kept)
        self.ignored: tuple[str, ...] = tuple(ignored)
        # Longest first: a value that contains another one is replaced whole.
        self._forms = sorted(forms.items(), key=lambda item: (-len(item[0]), item[0]))
        self._spaced = [form for form, _ in self._forms if not (form.isascii() and form.isprintable()) or " " in form]

    def __repr__(self) -> str:
        return f"Vault({', '.join(self.names)})"

    def mask(self, text: str) -> str:
        """Replace every known value in `text` by `[secret:NAME]`."""
        for form, name in self._forms:
            if form in text:
                text = text.replace(form, _mark(name))
        return text

    def found_in(self, text: str) -> str | None:
        """Name the secret that `text` contains, if it contains one."""
        return next((name for form, name in self._forms if form in text), None)

    def begun(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a secret that is more than one word."""
        found = 0
        for form in self._spaced:
            at = text.find(form[0], max(0, len(text) - len(form) + 1))
            while at >= 0 and not form.startswith(text[at:]):
                at = text.find(form[0], at + 1)
            if at >= 0:
                found = max(found, len(text) - at)
        return found

    @property
    def longest(self) -> int:
        """Characters of the longest way of writing a secret; 0 when there is none."""
        return len(self._forms[0][0]) if self._forms else 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user must be told of values that are not masked."""
        return tuple(
            f"{name} is not masked: its value is shorter than {SHORTEST} characters, or part of its name"
            for name in self.ignored
        )


def _mark(name: str) -> str:
    return f"[secret:{name}]"


_WITHHELD = "[withheld:"


def withhold(masked: str) -> str:
    """Mark the masked arguments of a tool call, so that they are told from words of a file that was shown masked."""
    return masked.replace("[secret:", _WITHHELD)


def withheld_in(arguments: str) -> str | None:
    """Name the secret that a tool call's arguments contained when the model sent them, if they did."""
    _, found, rest = arguments.partition(_WITHHELD)
    return rest.partition("]")[0] if found else None


def _forms(value: str) -> Iterator[str]:
    """Every way of writing `value` that is worth looking for."""
    import base64
    import json
    from urllib.parse import quote

    data = value.encode("utf-8", errors="surrogateescape")
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(data, safe="")
    yield data.hex()
    yield data.hex().upper()
    for lead in range(3):
        # What the 6-bit groups say independently of the neighbours, for a value `lead` bytes into a group of three.
        whole = base64.b64encode(b"\0" * lead + data).rstrip(b"=")
        tail = (lead + len(data)) % 3
        core = whole[(0, 2, 3)[lead] : len(whole) - (1 if tail else 0)].decode()
        if len(core) >= _SHORTEST_BASE64:
            yield core
            yield core.translate(str.maketrans("+/", "-_"))


# Every alternative begins at a fixed word and either matches or gives up after a bounded look, or after characters
# that no other start lies in: the time is linear in the text. A start may follow the `\n` of an escaped text.
_PATTERNS = r"""
  (?P<pem>-----BEGIN\ [A-Z0-9\ ]{0,40}PRIVATE\ KEY(?:\ BLOCK)?-----.*?(?:-----END\ [A-Z0-9\ ]{0,40}-----|\Z))
| (?P<bearer>(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))[Bb]earer[\ \t]{1,4}(?P<token>[A-Za-z0-9._~+/=-]{16,}+))
| (?P<jwt>(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt]))eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+)
| (?P<key>(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))(?:
      sk-(?=[A-Za-z_-]{0,80}[0-9])[A-Za-z0-9_-]{20,}+
    | (?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{20,}+
    | github_pat_[A-Za-z0-9_]{20,}+
    | glpat-[A-Za-z0-9_-]{20,}+
    | (?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])
    | xox[a-z]-[A-Za-z0-9-]{10,}+
    | AIza[A-Za-z0-9_-]{30,}+
    | (?:gsk|hf)_[A-Za-z0-9]{20,}+
    | xai-[A-Za-z0-9]{20,}+
  ))
"""


_HINTS = (
    "sk-",
    "gh",
    "github_pat_",
    "AKIA",
    "ASIA",
    "xox",
    "AIza",
    "PRIVATE KEY",
    "earer",
    "eyJ",
    "glpat-",
    "gsk_",
    "hf_",
    "xai-",
)


def may_hold_pattern(text: str) -> bool:
    """Whether `mask_patterns` could find anything, also where the text is JSON: its escapes touch no hint."""
    for hint in _HINTS:  # noqa: SIM110  asked of every text of every event: a generator costs three times the looks
        if hint in text:
            return True
    return False


def mask_patterns(text: str) -> str:
    """Replace what looks like a key by `[masked:KIND]`: for log, reports and screen, never for files."""
    if not may_hold_pattern(text):
        return text
    import re

    return re.sub(_PATTERNS, _masked, text, flags=re.VERBOSE | re.DOTALL)


def _masked(found: re.Match[str]) -> str:
    if (token := found["token"]) is not None:
        return f"{found[0][: -len(token)]}[masked:bearer]"
    return f"[masked:{found.lastgroup}]"
