"""A provider's prompt cache: what of a request was kept from an earlier one, and what is kept now."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from runner.testing.dialects import Asked, Block
from runner.values import Usage

_LOOK_BACK = 20
_LEAST_TOKENS = 512


@dataclass
class PrefixCache:
    """Keeps prefixes of whole blocks, by their bytes; nothing grows old.

    Where a request marks blocks (Messages), a prefix is kept at each mark, and looked for at most 20 blocks before
    each; a prefix below 512 tokens is not kept. Where none are marked but the provider caches by itself (OpenAI),
    every block's end is kept.
    """

    _kept: set[bytes] = field(default_factory=set[bytes])

    def applied(self, usage: Usage, asked: Asked) -> Usage:
        """The usage of a request with its cache reads and writes, which are then kept."""
        blocks = asked.blocks
        if not asked.lives or not blocks:
            return replace(usage, cached_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=0)
        ends = list(accumulate(len(block.text) for block in blocks))
        tokens = [usage.input_tokens * end // max(ends[-1], asked.request.size) for end in ends]
        digests = _digests(blocks)
        marks = [place for place, block in enumerate(blocks) if block.life] or list(range(len(blocks)))
        marks = [place for place in marks if tokens[place] >= _LEAST_TOKENS]
        looked = {place for mark in marks for place in range(max(0, mark - _LOOK_BACK + 1), mark + 1)}
        read = max((tokens[place] for place in looked if digests[place] in self._kept), default=0)
        written, longer, begun = 0, 0, read
        for mark in marks:
            if (more := tokens[mark] - begun) > 0:
                written, longer, begun = written + more, longer + more * (blocks[mark].life == "1h"), tokens[mark]
            self._kept.add(digests[mark])
        return replace(usage, cached_tokens=read, cache_write_tokens=written, cache_write_1h_tokens=longer)


def _digests(blocks: Sequence[Block]) -> list[bytes]:
    """What names each prefix: all bytes up to the end of each block."""
    digest, found = hashlib.sha256(), list[bytes]()
    for block in blocks:
        digest.update(b"%d:" % len(block.text) + block.text)
        found.append(digest.digest())
    return found
