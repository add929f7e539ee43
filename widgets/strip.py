"""The token strip: a text whose output tokens show where they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from ecco_captum.html import frame
from ecco_captum.saliency_html import (
    TITLE,
    checked_scores,
    pack_scores,
    saliency_css,
    saliency_data,
    saliency_script,
    saliency_view,
)
from ecco_captum.tokens import Tokens

_HERE = Path(__file__).parent


class TokenStrip(anywidget.AnyWidget):  # type: ignore[misc]  # it has no types
    r"""
    Prompt and output text; the output token under the pointer colours every earlier token.

    The scores are sent once, as bytes, and all painting happens in the browser; Python hears what
    is selected and what the pointer is on, and can select by setting ``selected``. Where no widget
    can live (an untrusted notebook, an export without state), the static view is shown instead.

    Args:
        tokens (Tokens): Prompt and output tokens.
        scores (numpy.ndarray): Shape (outputs, positions), raw; row ``t`` covers the prompt and the
            outputs before ``t``, later positions are 0.
        title (str, optional): The question above the view.
        subtitle (str, optional): What is drawn, such as model and method. Default: ``""``
        unit (str, optional): Unit of a raw score. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Raises:
        ValueError: The scores do not fit the tokens, or are not finite.

    Examples::

        >>> strip = TokenStrip(record.tokens, record.scores)
        >>> strip.observe(lambda change: print(record.shares[change["new"]]), "selected")
        >>> strip
    """

    _esm = _HERE / "strip.js"
    _css = saliency_css(signed=True) + (_HERE / "strip.css").read_text(encoding="utf-8")

    _script = traitlets.Unicode().tag(sync=True)
    _frame = traitlets.Unicode().tag(sync=True)
    _data = traitlets.Dict().tag(sync=True)
    _scores = traitlets.Bytes().tag(sync=True)

    selected = traitlets.Int(help="Index of the output whose sources are shown.").tag(sync=True)
    hovered = traitlets.Int(
        -1, help="Index of the output under the pointer or the keyboard's focus; -1 for none."
    ).tag(sync=True)

    def __init__(
        self,
        tokens: Tokens,
        scores: np.ndarray,
        *,
        title: str = TITLE,
        subtitle: str = "",
        unit: str = "",
        note: str = "",
    ) -> None:
        scores = checked_scores(tokens, scores)
        data = saliency_data(tokens, scores, unit=unit)
        self._outputs = len(scores)
        self._view = tokens, scores, {"title": title, "subtitle": subtitle, "note": note}
        super().__init__(
            _script=saliency_script(),
            _frame=frame('<div class="ecco-swap"></div>', **self._view[2]),
            _data=data,
            _scores=pack_scores(tokens, scores),
            selected=data["first"],
        )

    @traitlets.validate("selected")
    def _is_output(self, proposal: dict[str, Any]) -> int:
        value = int(proposal["value"])
        if not 0 <= value < self._outputs:
            raise traitlets.TraitError(
                f"selected: got {value}, accepts the outputs 0 to {self._outputs - 1}"
            )
        return value

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        tokens, scores, words = self._view
        view = saliency_view(tokens, scores, unit=str(self._data["unit"]), **words)
        return {**data, "text/html": view}, metadata
