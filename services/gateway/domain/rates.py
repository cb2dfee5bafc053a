"""How often somebody may call: a bucket of tokens that refills evenly, one token a call.

A bucket holds a minute's worth: who was quiet may call that often at once, and then at the even rate.
"""

from msgspec import Struct


class Bucket(Struct, frozen=True):
    """``tokens`` that were left ``at`` a time (seconds of a monotonic clock)."""

    tokens: float
    at: float


class Standing(Struct, frozen=True):
    """Where a caller stands: may call now or after ``wait`` seconds, ``remaining`` calls of ``limit`` a minute.

    ``reset`` seconds from now the bucket is full again.
    """

    limit: int
    remaining: int
    reset: float
    wait: float

    @property
    def allowed(self) -> bool:
        """Whether there is a token for this call."""
        return self.wait == 0


def refilled(bucket: Bucket | None, per_minute: int, now: float) -> Bucket:
    """Return a bucket as it is now; one that nobody used is full."""
    if bucket is None:
        return Bucket(per_minute, now)
    return Bucket(min(per_minute, bucket.tokens + max(0.0, now - bucket.at) * per_minute / 60), now)


def take(bucket: Bucket, per_minute: int) -> tuple[Bucket, Standing]:
    """Take a token from a bucket that was refilled; one that has none stays as it is."""
    rate = per_minute / 60
    if bucket.tokens < 1:
        return bucket, Standing(per_minute, 0, (per_minute - bucket.tokens) / rate, (1 - bucket.tokens) / rate)
    left = Bucket(bucket.tokens - 1, bucket.at)
    return left, Standing(per_minute, int(left.tokens), (per_minute - left.tokens) / rate, 0.0)


def tightest(standings: list[Standing]) -> Standing:
    """Return the standing that counts: the longest wait, else the fewest calls left."""
    return max(standings, key=lambda each: (each.wait, -each.remaining))
