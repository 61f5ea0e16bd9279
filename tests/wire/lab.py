"""A provider, an adapter on its real SDK, and a real ledger between them: what the matrix and the soak run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from typing import Literal, TypedDict, get_args

from runner import loop
from runner.agent.conversation import Conversation
from runner.decide import CallModel
from runner.events import facts
from runner.loop.perform import perform
from runner.loop.world import Engine, World
from runner.models import catalog
from runner.models.catalog import Choice, Server
from runner.models.server import Api
from runner.policy.model import Policy
from runner.ports import Model
from runner.pricing.book import Book, Entry
from runner.pricing.cost import Above, Asks, Price
from runner.spec.parse import parse_spec
from runner.state import State
from runner.store import journal
from runner.store.database import Database
from runner.store.recorder import create_run, take_over
from runner.testing.bill import Class, Listed
from runner.testing.fakes import FakeClock
from runner.testing.provider import ScriptedProvider
from runner.values import CallId, Limits, Scope, ScopeKind, StopReason
from tests.soak.spend_driver import PROMISE, StillChecks, StillGuard, StillTexts, StillTools, StillWorkspace

KEY = "sk-of-the-lab-0123456789abcdef"
STANDARD = Asks()
RULES = Policy()


@dataclass(frozen=True)
class Sold:
    """List prices as a provider prints them, US dollars per million tokens, from which both sides make their own."""

    usd: Mapping[str, str]
    above: tuple[tuple[int, Mapping[str, str]], ...] = ()
    services: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    geo: Mapping[str, str] = field(default_factory=dict)

    def price(self) -> Price:
        """As runner's book has them."""
        return replace(
            _price(self.usd),
            above=tuple(Above(tokens=tokens, price=_price(usd)) for tokens, usd in self.above),
            services={name: _price(usd) for name, usd in self.services.items()},
            geo={name: int(Fraction(times) * 1000) for name, times in self.geo.items()},
        )

    def listed(self) -> Listed:
        """As the provider charges them."""
        page = Listed.of(**self.usd)
        return Listed(
            usd=page.usd,
            above={tokens: Listed.of(**usd) for tokens, usd in self.above},
            services={name: Listed.of(**usd) for name, usd in self.services.items()},
            geo={name: Fraction(times) for name, times in self.geo.items()},
        )


def _price(usd: Mapping[str, str]) -> Price:
    known = {name: int(Fraction(value) * 1_000_000) for name, value in usd.items()}
    assert known.keys() <= set(get_args(Class))
    return Price(
        input=known["input"],
        output=known["output"],
        # what has no price of its own is charged as plain input
        cached=known.get("cached", known["input"]),
        cache_write=known.get("write", known["input"]),
        cache_write_1h=known.get("write_1h"),
        cache_write_12h=known.get("write_12h"),
        reasoning=known.get("reasoning"),
    )


PLAIN = Sold({"input": "3", "output": "15", "cached": "0.3", "write": "3.75", "write_1h": "6"})


class Listing(TypedDict, total=False):
    """What the book says of an adapter's model beside its price."""

    api: str
    thinking: str
    allowance: int
    tools_allowance: int
    thinking_allowance: int


@dataclass(frozen=True)
class Adapter:
    """One row of what runner can call: how it is built, and what its requests can ask for.

    `make` is given the provider, the book's entry and what `catalog.build` takes.
    """

    name: str
    model: str
    make: Callable[..., Model]
    entry: Listing = field(default_factory=Listing)
    thinking: str = "off"
    lives: tuple[str, ...] = ("",)


def _built(choice: Callable[[ScriptedProvider], Choice]) -> Callable[..., Model]:
    """As runner builds it, from a choice."""

    def make(provider: ScriptedProvider, entry: Entry, **more) -> Model:
        return catalog.build(choice(provider), book=Book({entry.name: entry}), keys=KEYS, **more)

    return make


def _served(
    name: str, kind: Literal["chat", "anthropic"], api: Api, key: str, *, root: bool = False
) -> Callable[..., Model]:
    """A server of the user's by its address."""

    def choice(provider: ScriptedProvider) -> Choice:
        server = Server(name=name, base_url=provider.root if root else provider.url, key=key, api=api)
        return Choice(kind=kind, name=f"{name}/m", why="", server=server)

    return _built(choice)


def _openai(api: str) -> Callable[..., Model]:
    """OpenAI's own API, though its address is another: what is sent differs from what is sent to other servers."""

    def make(provider: ScriptedProvider, entry: Entry, *, thinking: str, **more) -> Model:
        from runner.models.openai_chat import OpenAIChat
        from runner.models.openai_responses import OpenAIResponses

        of = OpenAIResponses if api == "responses" else OpenAIChat
        return of(entry.name, api_key=KEY, max_output=entry.max_output, base_url=provider.url, entry=entry,
                  provider="openai", **more)  # fmt: skip

    return make


def _through_litellm(provider: ScriptedProvider, entry: Entry, *, thinking: str, **more) -> Model:
    from runner.models.litellm_chat import LitellmChat

    return LitellmChat(entry.name, api_key=KEY, max_output=entry.max_output, base_url=provider.url, entry=entry, **more)


ADAPTERS = {
    one.name: one
    for one in (
        Adapter(
            "anthropic", "anthropic/m", _served("anthropic", "anthropic", "messages", "ANTHROPIC_API_KEY", root=True),
            entry={"thinking": "budget", "tools_allowance": 700, "thinking_allowance": 256},
            thinking="2000", lives=("off", "5m", "1h"),
        ),
        Adapter("openai responses", "openai/m", _openai("responses"), entry={"api": "responses", "allowance": 64}),
        Adapter("openai chat", "openai/m", _openai("chat"), entry={"allowance": 64}),
        Adapter("compatible", "desk/m", _served("desk", "chat", "chat", "RUNNER_KEY_DESK")),
        Adapter("litellm", "deepseek/m", _through_litellm),
    )
}  # fmt: skip
KEYS = {"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": KEY, "RUNNER_KEY_DESK": KEY}


@dataclass(frozen=True)
class Row:
    """One call in the ledger."""

    state: str
    hold: int
    cost: int

    @property
    def recorded(self) -> int:
        """What it counts for: its cost, or all of its hold when nobody knows."""
        return {"settled": self.cost, "released": 0}.get(self.state, self.hold)


class Lab:
    """One run of one adapter against a provider, its journal and ledger in `database`."""

    def __init__(
        self,
        database: Database,
        provider: ScriptedProvider,
        adapter: Adapter,
        run: str,
        *,
        limits: Limits,
        sold: Sold = PLAIN,
        asks: Asks = STANDARD,
        thinking: str = "off",
        idle_s: float = 10.0,
        max_output: int = 8000,
        policy: Policy = RULES,
        clock: FakeClock | None = None,
        backoff_s: Callable[[int], float] = lambda _: 1.0,
    ) -> None:
        self.database, self.provider, self.adapter, self.run = database, provider, adapter, run
        self.pieces: list[str] = []
        self.policy = replace(policy, promise=PROMISE, stall_iterations=None, max_output=max_output)
        entry = Entry(
            name=adapter.model, price=sold.price(), max_output=max_output, context=1_000_000,
            as_of=date(2026, 11, 1), source="the lab", **adapter.entry,
        )  # fmt: skip
        provider.sell(adapter.model, sold.listed())
        provider.script = replace(provider.script, provider=adapter.model.partition("/")[0])
        book = Book({adapter.model: entry})
        tools = StillTools()
        self.model: Model = adapter.make(
            provider, entry, tools=tools.definitions, timeout_s=60.0, idle_s=idle_s, asks=asks, thinking=thinking
        )
        self.policy = replace(self.policy, can_count=(self.model.can_count,))
        self.clock = clock or FakeClock(step_ms=20_000)
        self.recorder = create_run(database, _created(run, adapter.model, book.digest, limits), self.clock)
        take_over(self.recorder, adapter.model)
        self.world = World(
            clock=self.clock,
            engines=(Engine(model=self.model, entry=entry, asks=asks, hold_percent=100),),
            prices=book.digest,
            tools=tools,
            workspace=StillWorkspace(),
            checks=StillChecks(),
            guard=StillGuard(),
            spec=parse_spec("Work.", "<text>", on_path=lambda _: True, now=0),
            texts=StillTexts(),
            conversation=Conversation((self.model,), (entry,)),
            setup=lambda _: facts.SetupFinished(ok=True),
            backoff_s=backoff_s,
            on_text=self.pieces.append,
            mask=lambda text: text,
        )
        self.recorder.listen(lambda stamped, _: self.world.conversation.apply(stamped.event))

    @property
    def state(self) -> State:
        return self.recorder.state

    def begin(self, prompt: str, system: str = "Be good.") -> None:
        """Begin the first iteration by hand."""
        self.recorder.record(facts.IterationStarted(iteration=1, system=system, prompt=prompt))

    def call(self, step: int = 1) -> None:
        """Make one call, whatever came before."""
        perform(CallModel(CallId(1, step, 1)), self.policy, self.world, self.recorder)

    def drive(self) -> StopReason:
        """Run the loop to its end."""
        return loop.run(self.recorder, self.policy, self.world)

    def rows(self) -> list[Row]:
        """The run's calls in the ledger, in order."""
        sql = "SELECT state, hold, cost FROM entry WHERE run = ? ORDER BY rowid"
        return [Row(*row) for row in self.database.query(sql, (self.run,))]

    def events(self, kind: type) -> list:
        """Facts of one kind, in order."""
        found = (journal.known(self.run, row) for row in journal.rows(self.database, self.run))
        return [one.event for one in found if one is not None and isinstance(one.event, kind)]


def _created(run: str, model: str, digest: str, limits: Limits) -> facts.RunCreated:
    return facts.RunCreated(
        run=run,
        spec_path="<text>",
        spec_key=run,
        spec_text="Work.",
        workspace="/nonexistent",
        origin="/nonexistent",
        worktree=False,
        model=model,
        prices_digest=digest,
        scopes=(Scope(ScopeKind.RUN, run),),
        limits=limits,
    )
