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

import importlib
from typing import TYPE_CHECKING, Any

from ecco_captum.records import Record
from ecco_captum.widgets.explorer import Explorer
from ecco_captum.widgets.strip import TokenStrip

if TYPE_CHECKING:
    from ecco_captum.widgets.studio_page import Studio

__all__ = ["Explorer", "TokenStrip", "explore", "studio"]

# Where each record's explorer lives. Imported when first asked for: charts cost a second.
_HOMES = {
    "Attribution": "saliency.SaliencyExplorer",
    "Factors": "factors.FactorsExplorer",
    "ProbeReport": "probing.ProbeExplorer",
    "Rankings": "rankings.RankingsExplorer",
    "Similarity": "similarity.SimilarityExplorer",
    "WatchedRankings": "rankings.WatchExplorer",
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

        >>> from ecco_captum.widgets import explore
        >>> explorer = explore(rankings(lm, generation))
        >>> explorer.selected  # layer and token of the chosen cell
        [30, 0]
    """
    for name in (cls.__name__ for cls in type(record).__mro__):
        if name in _HOMES:
            module, _, explorer = _HOMES[name].partition(".")
            home = importlib.import_module(f"ecco_captum.widgets.{module}")
            opened: Explorer = getattr(home, explorer)(record, **functions)
            return opened
    raise TypeError(f"record: got a {type(record).__name__}, accepts one of {', '.join(_HOMES)}")


def studio(lm: Any) -> Studio:
    r"""
    Opens a prompt box, settings, and every explorer as a tab over the same text.

    Args:
        lm (LanguageModel): What ``load`` or ``wrap`` returns.

    Returns:
        Studio: A widget.

    Examples::

        >>> from ecco_captum.widgets import studio
        >>> page = studio(lm)  # as a cell's last line it is shown
    """
    from ecco_captum.recompute import analyses
    from ecco_captum.widgets.studio_page import Studio

    return Studio(analyses(lm))
