r"""What is said of several factors that are looked at together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ecco_captum.core.checks import Verdict
from ecco_captum.core.significance import LEVEL, max_t

if TYPE_CHECKING:
    from ecco_captum.factors.record import FactorEffect


def family_p_values(effects: Sequence[FactorEffect]) -> np.ndarray:
    r"""Returns each factor's p-value among all that were looked at, (effects,).

    The claim is that its neurons do more where it is high than random ones do, and that this is
    more so there than where it is low. A draw of random neurons stands for all factors at once
    (:func:`max_t`), so that one false claim among them has 5%. With 39 draws Holm's correction
    could never tell of more than two factors.

    Args:
        effects (Sequence of FactorEffect): of one text; the fewest draws of any are used.
    """
    draws = min(len(effect.random_changes) for effect in effects)
    return max_t(np.array([effect.standardised[: 1 + draws] for effect in effects]).T)


def family_verdicts(effects: Sequence[FactorEffect]) -> list[Verdict]:
    r"""Returns what is said of each factor where all are looked at: "supported", "inconclusive"."""
    told = family_p_values(effects) <= LEVEL
    return ["supported" if each else "inconclusive" for each in told.tolist()]
