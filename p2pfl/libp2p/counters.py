"""What has happened, counted for metrics."""

from collections import Counter


class Counters:
    """Monotonic counters, by name and, where there is one, by reason.

    Names and reasons are words of this package's own, so their number is bounded.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1, *, reason: str | None = None) -> None:
        """Count `count` more of `name`, and the same of `name.reason`."""
        self._counts[name] += count
        if reason is not None:
            self._counts[f"{name}.{reason}"] += count

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def snapshot(self) -> dict[str, int]:
        """All counters as they are now, sorted by name."""
        return dict(sorted(self._counts.items()))


class TokenBucket:
    """Lets `burst` through at once and `per_s` afterwards."""

    __slots__ = ("_burst", "_per_s", "_tokens", "_updated_at_s")

    def __init__(self, per_s: float, burst: int, now_s: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._tokens, self._updated_at_s = float(burst), now_s

    def take(self, now_s: float) -> bool:
        """Take one token; False where there is none."""
        self._refill(now_s)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def full(self, now_s: float) -> bool:
        """Whether the bucket tells nothing that a new one would not."""
        self._refill(now_s)
        return self._tokens >= self._burst

    def _refill(self, now_s: float) -> None:
        gained = (now_s - self._updated_at_s) * self._per_s
        self._tokens = min(self._burst, self._tokens + gained)
        self._updated_at_s = now_s
