"""95% intervals: of a mean by the bootstrap, and of a part of a count."""

from __future__ import annotations

import numpy as np

_AT_ONCE = 2**22  # numbers that are drawn at once, 32 MiB of them


def bootstrap_mean(
    values: np.ndarray, rng: np.random.Generator, resamples: int = 2000
) -> np.ndarray:
    """Returns means with 95% percentile bootstrap intervals (Efron 1979).

    From ``values``, (…, n), whose rows are drawn together, to (…, 3): mean, low and high end; of a
    single value that value three times.
    """
    from scipy.stats import bootstrap

    values = np.asarray(values, dtype=np.float64)
    mean = values.mean(axis=-1)
    if values.shape[-1] < 2:
        return np.stack([mean, mean, mean], axis=-1)
    result = bootstrap(
        (values,),
        np.mean,
        axis=-1,
        method="percentile",
        n_resamples=resamples,
        batch=max(1, _AT_ONCE // values.size),
        random_state=rng,
    )
    low, high = result.confidence_interval
    return np.stack([mean, low, high], axis=-1)


def wilson_interval(count: int, of: int) -> tuple[float, float]:
    """Returns the 95% interval of a probability from a count (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(count, of).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
