"""How often something may be said, by whatever clock; and memories that do not grow."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Clock = Callable[[], float]


@dataclass
class Bucket:
    """Lets ``burst`` things pass at once, and ``rate`` a second in the long run."""

    burst: float
    rate: float
    clock: Clock
    _tokens: float = field(init=False)
    _filled: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = self.burst
        self._filled = self.clock()

    def take(self) -> bool:
        """Let one thing pass, if it may."""
        self._fill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def wait(self) -> float:
        """Seconds until one thing may pass."""
        self._fill()
        return max(0.0, (1 - self._tokens) / self.rate)

    def _fill(self) -> None:
        now = self.clock()
        # A clock that is set back gives nothing, and takes nothing away.
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._filled) * self.rate)
        self._filled = now


class Recent(Generic[K, V]):
    """Remembers values for ``most`` keys: those that were put or asked for last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        """How many it remembers."""
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Recall a value."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: K, value: V) -> V:
        """Remember a value."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
        return value

    def pop(self, key: K) -> V | None:
        """Recall a value for the last time."""
        return self._values.pop(key, None)


class Buckets(Generic[K]):
    """One bucket for each of some things; only those that came last are remembered."""

    def __init__(self, burst: float, rate: float, clock: Clock, most: int) -> None:
        self._new = partial(Bucket, burst, rate, clock)
        self._buckets: Recent[K, Bucket] = Recent(most)

    def __len__(self) -> int:
        """How many it remembers."""
        return len(self._buckets)

    def take(self, thing: K) -> bool:
        """Let one more pass of this thing, if it may."""
        return (self._buckets.get(thing) or self._buckets.put(thing, self._new())).take()
