"""Which blocks of a campaign are missing, without a list of them: a plan may be of millions."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Missing:
    """The blocks of a campaign that are not there.

    Arguments:
        there: Those that are; what is not planned does not count.
        blocks: How many are planned.
        shards: In how many parts they are dealt out in turn.

    >>> missing = Missing({0, 2, 3, 5, 6, 99}, 8, 3)
    >>> missing.count, missing.first(2), missing.first_shards(5)
    (3, [1, 4], ['2/3'])
    """

    there: Set[int]
    blocks: int
    shards: int = 1

    @property
    def count(self) -> int:
        """How many there are."""
        return self.blocks - sum(number < self.blocks for number in self.there)

    def first(self, most: int) -> list[int]:
        """At most so many of them."""
        left = (number for number in range(self.blocks) if number not in self.there)
        return list(itertools.islice(left, most))

    def first_shards(self, most: int) -> list[str]:
        """At most so many of the shards that they are of, as ``i/n``."""
        there = Counter(n % self.shards for n in self.there if n < self.blocks)
        wanted = range(min(self.shards, self.blocks))
        # Shard i has the blocks i, i + n, i + 2n and on.
        short = (i for i in wanted if there[i] < -((i - self.blocks) // self.shards))
        return [f"{i + 1}/{self.shards}" for i in itertools.islice(short, most)]
