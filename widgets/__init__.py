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

from functools import singledispatch
from typing import TYPE_CHECKING, Any

from ecco_captum.attribution.method_comparison.record import MethodComparison
from ecco_captum.attribution.record import Attribution
from ecco_captum.core.record import Record
from ecco_captum.factors.record import Factors
from ecco_captum.lens.record import Rankings, WatchedRankings
from ecco_captum.probing.record import ProbeReport
from ecco_captum.similarity.record import Similarity
from ecco_captum.widgets.explorer import Explorer
from ecco_captum.widgets.view import TokenStrip

if TYPE_CHECKING:
    from ecco_captum.widgets.studio_page import Studio

__all__ = ["Explorer", "TokenStrip", "explore", "studio"]


@singledispatch
def explore(record: Record, **functions: Any) -> Explorer:
    r"""
    Opens the explorer that fits a record.

    Args:
        record (Record): An ``Attribution``, ``MethodComparison``, ``Rankings``,
            ``WatchedRankings``, ``Factors``, ``Similarity`` or ``ProbeReport``.
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
    accepted = ", ".join(kind.__name__ for kind in explore.registry if kind is not object)
    raise TypeError(f"record: got a {type(record).__name__}, accepts one of {accepted}")


# Each explorer is imported when its kind of record is first opened: charts cost a second.
@explore.register
def _(record: Attribution, **functions: Any) -> Explorer:
    from ecco_captum.widgets.saliency import SaliencyExplorer

    return SaliencyExplorer(record, **functions)


@explore.register
def _(record: Factors, **functions: Any) -> Explorer:
    from ecco_captum.widgets.factors import FactorsExplorer

    return FactorsExplorer(record, **functions)


@explore.register
def _(record: MethodComparison, **functions: Any) -> Explorer:
    from ecco_captum.widgets.methods import MethodsExplorer

    return MethodsExplorer(record, **functions)


@explore.register
def _(record: ProbeReport, **functions: Any) -> Explorer:
    from ecco_captum.widgets.probing import ProbeExplorer

    return ProbeExplorer(record, **functions)


@explore.register
def _(record: Rankings, **functions: Any) -> Explorer:
    from ecco_captum.widgets.rankings import RankingsExplorer

    return RankingsExplorer(record, **functions)


@explore.register
def _(record: Similarity, **functions: Any) -> Explorer:
    from ecco_captum.widgets.similarity import SimilarityExplorer

    return SimilarityExplorer(record, **functions)


@explore.register
def _(record: WatchedRankings, **functions: Any) -> Explorer:
    from ecco_captum.widgets.rankings import WatchExplorer

    return WatchExplorer(record, **functions)


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
    from ecco_captum.widgets.callbacks import analyses
    from ecco_captum.widgets.studio_page import Studio

    return Studio(analyses(lm))
