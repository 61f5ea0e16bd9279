"""What a Messages stream says it used, made into one usage. Source: `Usage` and `MessageDeltaUsage` of the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runner.models.fields import GarbledError, as_map, count
from runner.models.usage import true_usage
from runner.pricing.cost import Asks
from runner.values import Usage

_ANYWHERE = frozenset({"", "global", "not_available"})
_STANDARD = frozenset({"", "standard", "standard_only", "default"})
_USES = "_requests"


class Counts:
    """Running counts of one reply. The start has the lives of cache writes, later ones are totals: the most counts."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._uses: dict[str, int] = {}
        self._words: dict[str, str] = {}
        self._final = False

    def start(self, value: object) -> None:
        """Take the usage a reply begins with; raises GarbledError for a count that is none."""
        usage = as_map(value)
        self._most(usage)
        self._most(as_map(usage.get("cache_creation")))
        for key in ("service_tier", "speed", "inference_geo"):
            if isinstance(word := usage.get(key), str):
                self._words[key] = word

    def add(self, value: object) -> None:
        """Take the running totals that come with the reply's end; raises GarbledError for a count that is none."""
        self.start(value)
        self._final |= "output_tokens" in as_map(value)

    def _most(self, usage: Mapping[str, object]) -> None:
        for key, value in usage.items():
            if key.endswith("_tokens") and value is not None:
                self._counts[key] = max(self._counts.get(key, 0), count(usage, key))
        details = as_map(usage.get("output_tokens_details"))
        self._counts["thinking"] = max(self._counts.get("thinking", 0), count(details, "thinking_tokens", 0))
        used = as_map(usage.get("server_tool_use"))
        for key, value in used.items():
            if key.endswith(_USES) and value is not None:
                name = key.removesuffix(_USES)
                self._uses[name] = max(self._uses.get(name, 0), count(used, key))

    def usage(self, asks: Asks, *, empty: bool, stand_in: Callable[[], Usage] | None) -> Usage:
        """The whole usage of a reply (`empty`: it held nothing). What it does not say of its class is as asked for.

        Raises GarbledError where counts are missing or cannot be true: no input at all, or an answer from no output.
        `stand_in` gives another usage then, where there is one.
        """
        counts = self._counts
        if not (self._final and "input_tokens" in counts):
            if stand_in is not None:
                return stand_in()
            raise GarbledError("the reply came without a usable usage", cause="usage")
        lives = counts.get("ephemeral_5m_input_tokens", 0), counts.get("ephemeral_1h_input_tokens", 0)
        writes = max(counts.get("cache_creation_input_tokens", 0), sum(lives))
        # later totals do not say how long what they add lives
        longer = lives[1] + (writes - sum(lives) if asks.cache == "1h" else 0)
        cached = counts.get("cache_read_input_tokens", 0)
        written = counts.get("output_tokens", 0)
        found = Usage(
            counts["input_tokens"] + cached + writes,
            written,
            cached,
            writes,
            cache_write_1h_tokens=longer,
            # a count of its own making: it may differ a little from what was billed
            reasoning_tokens=min(counts["thinking"], written),
            service=self._service(asks),
            geo=self._geo(asks),
            fees=tuple(sorted((name, uses) for name, uses in self._uses.items() if uses)),
        )
        return true_usage(found, 0, counts="all", empty=empty, stand_in=stand_in)

    def _service(self, asks: Asks) -> str:
        """Fast and a tier at once is a class of its own, for which no price is known."""
        tier = self._words.get("service_tier", "" if asks.service == "fast" else asks.service)
        speed = self._words.get("speed", "fast" if asks.service == "fast" else "")
        return "+".join(word for word in (speed, tier) if word not in _STANDARD)

    def _geo(self, asks: Asks) -> str:
        geo = self._words.get("inference_geo", asks.geo)
        return "" if geo in _ANYWHERE else geo
