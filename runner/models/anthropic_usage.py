"""What a Messages stream says it used, made into one usage. Source: `Usage` and `MessageDeltaUsage` of the API."""

from __future__ import annotations

from collections.abc import Mapping

from runner.models.fields import GarbledError, as_map
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
                self._counts[key] = max(self._counts.get(key, 0), _count(value, key))
        details = as_map(usage.get("output_tokens_details"))
        if (thought := details.get("thinking_tokens")) is not None:
            self._counts["thinking"] = _count(thought, "thinking_tokens")
        for key, value in as_map(usage.get("server_tool_use")).items():
            if key.endswith(_USES) and value is not None:
                name = key.removesuffix(_USES)
                self._uses[name] = max(self._uses.get(name, 0), _count(value, key))

    def usage(self, asks: Asks, *, answered: bool, local: bool) -> Usage:
        """The whole usage. What it does not say of its class is as it was asked for, and so dearest.

        Raises GarbledError where counts are missing or cannot be true: no input at all, or an answer from no output.
        A server of one's own (`local`) may count nothing.
        """
        counts = self._counts
        if not local and not (self._final and "input_tokens" in counts):
            raise GarbledError("the reply came without a usable usage", cause="usage")
        parts = counts.get("ephemeral_5m_input_tokens", 0), counts.get("ephemeral_1h_input_tokens", 0)
        writes = max(counts.get("cache_creation_input_tokens", 0), sum(parts))
        # later totals do not say how long what they add lives
        long = parts[1] + (writes - sum(parts) if asks.cache == "1h" else 0)
        cached = counts.get("cache_read_input_tokens", 0)
        read = counts.get("input_tokens", 0) + cached + writes
        written = counts.get("output_tokens", 0)
        if not local and (read == 0 or (answered and written == 0)):
            raise GarbledError("the reply's usage counts nothing", cause="usage")
        return Usage(
            read,
            written,
            cached,
            writes,
            cache_write_1h_tokens=long,
            reasoning_tokens=min(counts.get("thinking", 0), written),
            service=self._service(asks),
            geo=self._geo(asks),
            fees=tuple(sorted((name, uses) for name, uses in self._uses.items() if uses)),
        )

    def _service(self, asks: Asks) -> str:
        """Fast and a tier at once is a class of its own, for which no price is known."""
        tier = self._words.get("service_tier", "" if asks.service == "fast" else asks.service)
        speed = self._words.get("speed", "fast" if asks.service == "fast" else "")
        return "+".join(word for word in (speed, tier) if word not in _STANDARD)

    def _geo(self, asks: Asks) -> str:
        geo = self._words.get("inference_geo", asks.geo)
        return "" if geo in _ANYWHERE else geo


def _count(value: object, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise GarbledError(f"the reply came without a usable `{key}` in its usage", cause="usage")
    return value
