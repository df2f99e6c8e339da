"""When an invocation is warm and when it has measured enough: pure arithmetic on lists of times."""

import math
from typing import List, Optional, Sequence, Tuple


def median(values: Sequence[float]) -> float:
    """Return the median of at least one value."""
    return quantile(sorted(values), 0.5)


def quantile(ordered: Sequence[float], q: float) -> float:
    """Return the q-quantile of sorted values by linear interpolation."""
    position = q * (len(ordered) - 1)
    low = int(math.floor(position))
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median_interval(values: Sequence[float], confidence: float) -> Optional[Tuple[float, float, float]]:
    """Return (lower, upper, coverage) of the median by order statistics, None when there are too few values.

    The narrowest symmetric pair of order statistics whose binomial coverage is at least `confidence`: the pair
    (k+1, n-k) covers the median with probability 1 - 2 P(B <= k), B ~ Binomial(n, 1/2); no shape is assumed.
    """
    ordered = sorted(values)
    n = len(ordered)
    below = 0.0
    best = None
    for k in range(n // 2):
        below += math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
        coverage = 1 - 2 * below
        if coverage < confidence:
            break
        best = (ordered[k], ordered[n - 1 - k], coverage)
    return best


def is_steady(times: Sequence[float], window: int) -> bool:
    """Return whether the last two windows of calls agree: medians within 2 %, quartiles within 5 %."""
    if len(times) < 2 * window:
        return False
    first, second = sorted(times[-2 * window : -window]), sorted(times[-window:])
    return all(
        abs(quantile(first, q) / quantile(second, q) - 1) <= tolerance
        for q, tolerance in ((0.5, 0.02), (0.25, 0.05), (0.75, 0.05))
    )


def half_width(block_medians: List[float]) -> float:
    """Return half the 95 % interval of the median over the median; 0 for fewer than 16 blocks, too few to tell.

    From 16 on a quarter of the blocks may be disturbed before the interval grows.
    """
    interval = median_interval(block_medians, 0.95) if len(block_medians) >= 16 else None
    return 0.0 if interval is None else (interval[1] - interval[0]) / 2 / median(block_medians)


def narrow_enough(block_medians: List[float], half_width: float) -> bool:
    """Return whether the 95 % interval of the median of at least 8 block medians is within +- half_width of it."""
    if len(block_medians) < 8:
        return False
    interval = median_interval(block_medians, 0.95)
    if interval is None:
        return False
    return (interval[1] - interval[0]) / 2 <= half_width * median(block_medians)
