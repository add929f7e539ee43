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

from ecco_captum.widgets.strip import TokenStrip

__all__ = ["TokenStrip", "explore"]


def explore(record: object) -> TokenStrip:
    r"""
    Open the explorer that fits a record.

    Args:
        record: The result of an analysis. Accepted now: an ``Attribution``, with ``tokens`` and
            ``scores``; where it has ``outputs``, only these can be asked, and where it has the
            texts ``subtitle``, ``unit`` and ``note``, they are shown.

    Returns:
        TokenStrip: A widget; a notebook shows it as the last value of a cell.

    Raises:
        TypeError: There is no explorer for this type.

    Examples::

        >>> explore(saliency(lm, generation))
    """
    names = {cls.__name__ for cls in type(record).__mro__}
    if "Attribution" not in names or not (hasattr(record, "tokens") and hasattr(record, "scores")):
        raise TypeError(
            f"record: got a {type(record).__name__}, accepts an Attribution (saliency returns one)"
        )
    words = {name: str(getattr(record, name, "")) for name in ("subtitle", "unit", "note")}
    generation = getattr(record, "generation", None)
    # The masks of a text whose tokens were taken together are no positions of the groups.
    grouped = getattr(record, "spans", None) is not None
    return TokenStrip(
        record.tokens,
        record.scores,
        outputs=getattr(record, "outputs", None),
        task=getattr(generation, "task", "causal"),
        places=None if grouped else getattr(generation, "places", None),
        **words,
    )
