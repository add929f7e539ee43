"""Explorers for notebooks: one for each kind of record.

The folder ``widgets`` of a checkout is the package ``ecco_captum.widgets`` once installed.
"""

from __future__ import annotations

if __name__ != "ecco_captum.widgets":
    raise ImportError(
        f"This package was imported as {__name__!r}; its name is 'ecco_captum.widgets', and it has "
        "that name only once installed. Install the project (pip install -e .) and run Python from "
        "elsewhere, or run the tests with pytest rather than python -m pytest."
    )

from typing import Any

from ecco_captum.records import Record
from ecco_captum.widgets.explorer import Explorer
from ecco_captum.widgets.factors import FactorsExplorer
from ecco_captum.widgets.probing import ProbeExplorer
from ecco_captum.widgets.rankings import RankingsExplorer, WatchExplorer
from ecco_captum.widgets.saliency import SaliencyExplorer
from ecco_captum.widgets.similarity import SimilarityExplorer
from ecco_captum.widgets.strip import TokenStrip
from ecco_captum.widgets.studio import Studio

__all__ = ["Explorer", "Studio", "TokenStrip", "explore", "studio"]

_EXPLORERS: dict[str, type[Explorer]] = {
    "Attribution": SaliencyExplorer,
    "Factors": FactorsExplorer,
    "ProbeReport": ProbeExplorer,
    "Rankings": RankingsExplorer,
    "Similarity": SimilarityExplorer,
    "WatchedRankings": WatchExplorer,
}


def explore(record: Record, **functions: Any) -> Explorer:
    r"""
    Opens the explorer that fits a record.

    Args:
        record (Record): An ``Attribution``, ``Rankings``, ``WatchedRankings``, ``Factors``,
            ``Similarity`` or ``ProbeReport``.
        **functions: What computes further numbers; each explorer names its own. The record's
            method :meth:`Record.explore` makes them of a model.

    Returns:
        Explorer: A widget; a notebook shows it as the last value of a cell.

    Raises:
        TypeError: There is no explorer for this type, or it takes no such function.

    Examples::

        >>> explore(rankings(lm, generation))
        >>> saliency(lm, generation).explore(lm)  # other methods can be chosen
    """
    names = [cls.__name__ for cls in type(record).__mro__]
    for name in names:
        if name in _EXPLORERS:
            return _EXPLORERS[name](record, **functions)
    *others, last = (f"a {name}" for name in _EXPLORERS)
    raise TypeError(f"record: got a {type(record).__name__}, accepts {', '.join(others)} or {last}")


def studio(lm: Any) -> Studio:
    r"""
    Opens a prompt box, settings, and every explorer as a tab over the same text.

    Args:
        lm (LanguageModel): What ``load`` or ``wrap`` returns.

    Returns:
        Studio: A widget.

    Examples::

        >>> studio(load("smollm2-135m"))
    """
    from ecco_captum.recompute import analyses

    return Studio(analyses(lm))
