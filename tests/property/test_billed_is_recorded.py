"""The providers' soak at a small size: what they bill is recorded, what is recorded is within the limit."""

import pytest

from tests.soak import providers
from tests.wire.lab import ADAPTERS

SEQUENCES = 25
"""For each adapter: in all a little over one percent of the soak."""


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_random_sequences_of_everything_a_provider_does_bill_at_most_what_is_recorded(adapter: str):
    plan = list(providers.planned(SEQUENCES, [adapter]))
    assert {kind for kind, _, _ in plan} == set(providers.KINDS)
    results = providers.run(plan, seed=20261122)
    assert [one.wrong for one in results if one.wrong] == []
    assert sum(one.requests for one in results) > 100


def test_a_provider_that_bills_more_than_it_says_is_seen(monkeypatch: pytest.MonkeyPatch):
    """The comparison can fail: a provider that charges a nano-dollar more than its list for every request."""
    monkeypatch.setattr("runner.testing.provider.in_nano", lambda usd: int(usd * 1_000_000_000) + 10)
    results = providers.run([("rough", "openai chat", number) for number in range(8)], seed=1)
    assert any("billed" in what for one in results for what in one.wrong)
