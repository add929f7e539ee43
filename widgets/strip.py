"""The token strip: a text whose output tokens show where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from ecco_captum.attribution.html import (
    TITLE,
    checked_outputs,
    checked_scores,
    known_lengths,
    pack_scores,
    saliency_data,
    saliency_script,
    saliency_view,
)
from ecco_captum.core.tokens import Tokens
from ecco_captum.display.page import frame, without_scripts
from ecco_captum.display.token_text import token_text_css
from ecco_captum.generation.record import Task

MOST_SCORES = 2**24
"""How many scores are sent at once, 64 MiB of them."""

_HERE = Path(__file__).parent


def esm(name: str) -> str:
    r"""A widget's module: what all of them share, and its own file."""
    return "".join((_HERE / part).read_text(encoding="utf-8") for part in ("common.js", name))


class TokenStrip(anywidget.AnyWidget):  # type: ignore[misc]  # it has no types
    r"""
    Prompt and output text; the output token under the pointer colours every earlier token.

    The scores are sent once, as bytes, up to 16 million of them; of more, each output's are sent
    when it is chosen first. All painting happens in the browser; Python hears what is selected and
    what the pointer is on, and can select by setting ``selected``. Where no widget can live (an
    untrusted notebook, an export without state), the static view is shown instead.

    Args:
        tokens (Tokens): Prompt (source, text) and output tokens, or names of classes.
        scores (numpy.ndarray): Shape (explained, positions), raw; the row of output ``t`` covers
            the prompt and, where a text is written on, the outputs before ``t``; the rest is 0.
        outputs (sequence of int, optional): Which outputs the rows explain, ascending; only these
            can be selected. Default: all.
        task (str, optional): What the outputs are: ``"causal"``, ``"seq2seq"``, ``"masked"`` or
            ``"classification"``. Default: ``"causal"``
        places (sequence of int, optional): For ``"masked"``, each output's mask. Default: not said.
        title (str, optional): The question above the view.
        subtitle (str, optional): What is drawn, such as model and method. Default: ``""``
        unit (str, optional): Unit of a raw score. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``
        below (str, optional): Trusted HTML, drawn under the picture. Default: ``""``

    Raises:
        ValueError: The scores do not fit the tokens, or are not finite.

    Examples::

        >>> from ecco_captum.widgets import TokenStrip
        >>> strip = TokenStrip(attribution.tokens, attribution.scores)
        >>> strip.observe(lambda change: print(change["new"]), "selected")
        >>> strip.selected = 3
        3
    """

    _esm = esm("strip.js")
    _css = token_text_css(signed=True) + (_HERE / "strip.css").read_text(encoding="utf-8")

    _script = traitlets.Unicode().tag(sync=True)
    _frame = traitlets.Unicode().tag(sync=True)
    _data = traitlets.Dict().tag(sync=True)
    _scores = traitlets.Bytes().tag(sync=True)
    _shown = traitlets.Int(help="How many texts have been drawn; a new one is drawn at once.").tag(
        sync=True
    )

    monospace = traitlets.Bool(False, help="Whether all letters are equally wide.").tag(sync=True)
    selected = traitlets.Int(
        help="Index, among all outputs, of the explained one whose sources are shown."
    ).tag(sync=True)
    hovered = traitlets.Int(
        -1, help="Index of the output under the pointer or the keyboard's focus; -1 for none."
    ).tag(sync=True)

    def __init__(self, tokens: Tokens, scores: np.ndarray, **options: Any) -> None:
        super().__init__(_script=saliency_script())
        self.on_msg(self._asked)
        try:
            self.show(tokens, scores, **options)
        except Exception:
            self.close()  # there is no widget of what cannot be drawn
            raise

    def show(
        self,
        tokens: Tokens,
        scores: np.ndarray,
        *,
        outputs: Sequence[int] | np.ndarray | None = None,
        task: Task = "causal",
        places: Sequence[int] | np.ndarray | None = None,
        below: str = "",
        unit: str = "",
        selected: int | None = None,
        title: str = TITLE,
        subtitle: str = "",
        note: str = "",
    ) -> None:
        r"""
        Draws another text in the same place.

        Args:
            tokens (Tokens): As for a new strip, and so are the other arguments.
            scores (numpy.ndarray): Shape (explained, positions).
            selected (int, optional): The output that is chosen, if it is explained.
                Default: the one whose sources are the most concentrated

        Raises:
            ValueError: The scores do not fit the tokens, or are not finite.
        """
        scores = checked_scores(tokens, scores, outputs=outputs, task=task)
        data = saliency_data(tokens, scores, outputs=outputs, task=task, places=places, unit=unit)
        known = known_lengths(tokens, checked_outputs(tokens, outputs), task)
        later = int(np.sum(known)) > MOST_SCORES
        packed = b"" if later else pack_scores(tokens, scores, outputs=outputs, task=task)
        words = {"title": title, "subtitle": subtitle, "note": note}
        options: dict[str, Any] = {"outputs": outputs, "task": task, "places": places}
        self.explained = checked_outputs(tokens, outputs).tolist()
        self._view = tokens, scores, options | words | {"unit": unit, "below": below}
        self._rows = [row[:length] for row, length in zip(scores, known, strict=True)]
        with self.hold_sync():
            self._frame = frame(f'<div class="ecco-swap"></div>{below}', **words)
            self._scores = packed
            self._data = {**data, "later": later}
            self._shown += 1
            chosen: Any = selected if selected in self.explained else data["first"]
            self.selected = chosen

    def _asked(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """Sends the scores of one output of a text that has too many for one message."""
        if content.get("shown") == self._shown and content.get("row") in self.explained:
            row = self._rows[self.explained.index(content["row"])]
            self.send(content, buffers=[np.asarray(row).astype("<f4").tobytes()])

    @traitlets.validate("selected")
    def _is_output(self, proposal: dict[str, Any]) -> int:
        value = int(proposal["value"])
        if value not in self.explained:
            raise traitlets.TraitError(
                f"selected: got {value}, accepts the explained outputs {_ranges(self.explained)}"
            )
        return value

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        tokens, scores, options = self._view
        html = saliency_view(tokens, scores, **options)
        # A notebook's file should not hold what is too much for a message.
        return {
            **data,
            "text/html": without_scripts(html) if self._data["later"] else html,
        }, metadata


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers in words: "0 to 8", or "0 to 2, 5, 7 to 9"."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    pairs = zip(starts, ends, strict=True)
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in pairs)
