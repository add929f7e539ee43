"""The saliency explorer: where each token came from, by one method or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
import traitlets

from ecco_captum.attribution.html import saliency_view, top_shares
from ecco_captum.core.text import format_number, format_share, visible
from ecco_captum.display.page import escape
from ecco_captum.widgets.edit import Edit, EditBar, score_change, words_of
from ecco_captum.widgets.explorer import Explorer, Stale, choice, row
from ecco_captum.widgets.runner import Estimate, Runner
from ecco_captum.widgets.token_box import TokenBox
from ecco_captum.widgets.view import TokenStrip

if TYPE_CHECKING:
    from ecco_captum.attribution.record import Attribution

_SCORES = ("logit", "logprob", "prob", "entropy")
_AGGREGATES = (
    ("the method's own", ""),
    ("L2 norm", "l2"),
    ("sum", "sum"),
    ("L1 norm", "l1"),
    ("largest", "max_abs"),
)
_NOTHING = ("nothing", "")
_HINTS = {
    "method": "How the shares are computed; the text stays the same",
    "score": "What is explained of each output: its logit, probability or log-probability, "
    "or the entropy of the distribution",
    "versus": "Explains why the output rather than this token: the difference of their scores",
    "aggregate": "How the numbers of one token's embedding become one; a sum keeps the sign",
    "beside": "A second method, on the same scale, with how far the two agree",
    "group": "Whether each word's tokens are counted together",
    "check": "Removes tokens and tests whether the score falls as the shares say",
}
_Key = tuple[Any, ...]


class SaliencyExplorer(Explorer):
    r"""
    Hover an output token, and the tokens that it came from take its shade.

    Args:
        record (Attribution): What is shown first.
        compute (Callable, optional): ``compute(method=, score=, versus=, aggregate=, progress=)``
            returns another attribution of the same text; without it there is nothing to choose but
            tokens or words. Default: ``None``
        methods (sequence, optional): Names of methods, or pairs of a title and a name, to choose.
        test (Callable, optional): ``test(attribution, progress=)`` returns its faithfulness.
            Default: ``None``
        complete (Callable, optional): ``complete(text)`` returns what completes a contrast, and
            what there is to say of it. Default: ``None``
        estimate (Callable, optional): ``estimate(method)`` returns about how long a method takes,
            or None. Default: ``None``
        edit (Callable, optional): ``edit(start, end, text, method=, …, progress=)`` returns the
            attribution of the same outputs after an edited prompt. Default: ``None``
    """

    selected = traitlets.Int(help="Index, among all outputs, of the one whose sources are shown.")
    hovered = traitlets.Int(-1, help="Index of the output under the pointer; -1 for none.")

    def __init__(
        self,
        record: Attribution,
        *,
        compute: Callable[..., Attribution] | None = None,
        methods: Sequence[Any] = (),
        test: Callable[..., Any] | None = None,
        complete: Callable[[str], tuple[list[str], str]] | None = None,
        estimate: Callable[[str], Estimate | None] | None = None,
        edit: Callable[..., Attribution] | None = None,
    ) -> None:
        self._compute, self._test, self._estimate = compute, test, estimate
        self._change = edit
        self.runner, self.stale = Runner(), Stale(self._back)
        self._known: dict[_Key, Attribution] = {}
        self._tested: dict[int, str] = {}
        self._build(record, methods, complete)
        self._keys = [self._key(self.method.value)]
        self._known[self._keys[0]] = record
        self.shown: tuple[Attribution, ...] = (record,)
        self._edit: Edit | None = None
        self._drawn = ""
        self._setting = False
        self.strips: list[TokenStrip] = []
        self.view, self.agreement = ipywidgets.HBox(), ipywidgets.HTML()
        self.view.add_class("ecco-sides")
        super().__init__(record, [*self._controls(record), self.agreement, self.view])
        self._draw()

    def _controls(self, record: Attribution) -> list[Any]:
        controls = [self.check] if self._test else []
        if record.spans is None:
            controls = [self.group, *controls]
        if self._compute is not None:
            several = [self.method, self.score, self.versus, self.aggregate, self.beside]
            controls = [*several, *controls]
        rows = [row(*controls)]
        if self._change is not None:
            self.editing = EditBar(words_of(record), self._edited)
            rows.append(self.editing)
        return [*rows, self.runner, self.stale]

    def _build(self, record: Attribution, methods: Sequence[Any], complete: Any) -> None:
        methods = [
            (method, method) if isinstance(method, str) else tuple(method) for method in methods
        ]
        if record.method not in [name for _, name in methods]:
            methods = [(record.label or record.method, record.method), *methods]
        self._titles = {name: title for title, name in methods}
        self.method = choice("Method", methods, record.method, tooltip=_HINTS["method"])
        self.score = choice("Score", _SCORES, record.score, tooltip=_HINTS["score"])
        self.versus = TokenBox(
            value=", ".join(record.versus),
            description="Contrast",
            placeholder="a token, such as ' Paris'",
            tooltip=_HINTS["versus"],
            complete=complete,
        )
        self.aggregate = choice("Combine by", _AGGREGATES, "", tooltip=_HINTS["aggregate"])
        self.beside = choice("Side by side", [_NOTHING, *methods], "", tooltip=_HINTS["beside"])
        self.group = ipywidgets.ToggleButtons(
            options=["tokens", "words"],
            style={"button_width": "auto"},
            tooltips=[_HINTS["group"]] * 2,
        )
        self.check = ipywidgets.Button(
            description="Does it hold?", tooltip=_HINTS["check"], layout={"width": "auto"}
        )
        for control in (self.method, self.score, self.versus, self.aggregate, self.beside):
            control.observe(self._asked, "value")
        self.group.observe(lambda _: self._draw(), "value")
        self.check.on_click(self._check)

    def _key(self, method: str) -> _Key:
        return method, self.score.value, self.versus.value, self.aggregate.value

    def _named(self, key: _Key) -> str:
        """Settings in words."""
        method, score, versus, aggregate = key
        combined = {name: title for title, name in _AGGREGATES}[aggregate]
        parts = [self._titles[method], score, f"against “{visible(versus)}”" if versus else ""]
        return ", ".join([part for part in parts if part] + ([combined] if aggregate else []))

    def _asked(self, _: Any) -> None:
        """Something else is wanted: what is known is shown at once, what is not is computed."""
        if self._setting:
            return
        wanted = [self.method.value, *([self.beside.value] if self.beside.value else [])]
        keys = [self._key(method) for method in wanted]
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        if not missing:
            self.runner.drop()  # what was wanted before must not take this one's place
            self._put(keys)
            return
        self.stale.mark(" and ".join(map(self._named, self._keys)), self.view)

        def work(progress: Callable[[float], None]) -> None:
            for k, key in enumerate(missing):
                share = partial(_part, progress, k, len(missing))
                self._known[key] = self._computed(key, share)

        what = " and ".join(self._titles[key[0]] for key in missing)
        methods = [key[0] for key in missing]
        self.runner.run(
            what, work, lambda _: self._put(keys), estimate=lambda: self._estimated(methods)
        )

    def _estimated(self, methods: Sequence[str]) -> Estimate | None:
        """How long several methods take together."""
        estimates = [self._estimate(method) for method in methods] if self._estimate else []
        known = [estimate for estimate in estimates if estimate is not None]
        if not known:
            return None
        longest = max(known, key=lambda estimate: estimate.seconds)
        return Estimate(sum(estimate.seconds for estimate in known), longest.shorter)

    def _options(self, key: _Key) -> dict[str, Any]:
        method, score, versus, aggregate = key
        foils = [part for part in versus.split(",") if part.strip()]
        return {
            "method": method,
            "score": score,
            "versus": (foils if len(foils) > 1 else foils[0]) if foils else None,
            "aggregate": aggregate or None,
        }

    def _computed(self, key: _Key, progress: Callable[[float], None]) -> Attribution:
        assert self._compute is not None
        return self._compute(**self._options(key), progress=progress)

    def _back(self) -> None:
        """The controls say again what the picture shows."""
        self.runner.drop()
        method, score, versus, aggregate = self._keys[0]
        self._setting = True
        try:
            self.method.value, self.score.value = method, score
            self.versus.value, self.aggregate.value = versus, aggregate
            self.beside.value = self._keys[1][0] if len(self._keys) > 1 else ""
        finally:
            self._setting = False
        self.stale.clear()

    def _edited(self, edit: Edit | None) -> None:
        """Compares what is shown with the same outputs after an edited prompt."""
        key, change = self._keys[0], self._change
        if edit is None:
            self._put([key])
            return
        assert change is not None

        def done(after: Attribution) -> None:
            self._set_beside("")
            self._put([key], after, edit)

        self.runner.run(
            self.editing.says(edit),
            lambda progress: change(*edit, **self._options(key), progress=progress),
            done,
            estimate=lambda: self._estimated([key[0]]),
        )

    def _set_beside(self, method: str) -> None:
        self._setting = True
        try:
            self.beside.value = method
        finally:
            self._setting = False

    def _put(
        self, keys: Sequence[_Key], after: Attribution | None = None, edit: Edit | None = None
    ) -> None:
        self._keys, self._edit = list(keys), edit
        self.shown = tuple(self._known[key] for key in keys) + (() if after is None else (after,))
        self.record = self.shown[0]
        if self._change is not None:
            self.editing.end.layout.display = "none" if edit is None else ""
        self._draw()
        self.stale.clear()

    def _draw(self) -> None:
        """Draws what is shown, the same output chosen as before."""
        group = self.group.value
        records = [record.by_word() if group == "words" else record for record in self.shown]
        below = self._tested.get(id(self.record), "")
        kept = self.selected if self._drawn == group else None
        self._drawn = group
        tops = top_shares(records).tolist() if len(records) > 1 else None
        for k, record in enumerate(records):
            if k == len(self.strips):
                self.strips.append(self._strip(record))
            title = self.editing.says(self._edit) if k and self._edit else ""
            self.strips[k].show(
                record, below="" if k else below, selected=kept, title=title, tops=tops
            )
            kept = self.strips[k].selected if kept is None else kept
        self.selected = self.strips[0].selected
        if len(self.view.children) != len(records):
            self.view.children = self.strips[: len(records)]
        self._grouped = records
        self._say_agreement()

    def _strip(self, record: Attribution) -> TokenStrip:
        strip = TokenStrip(record)
        strip.observe(self._chosen, "selected")
        strip.observe(lambda change: self.set_trait("hovered", change["new"]), "hovered")
        strip.add_class("ecco-side")
        return strip

    def _chosen(self, change: Any) -> None:
        self.selected = change["new"]

    @traitlets.observe("selected")
    def _follow(self, change: Any) -> None:
        """All strips show the sources of the same output."""
        for strip in self.view.children:
            if change["new"] in strip.explained and strip.selected != change["new"]:
                strip.selected = change["new"]
        self._say_agreement()

    def _say_agreement(self) -> None:
        """The line above two strips: how far methods agree, or what an edit did to the score."""
        if len(self.shown) < 2:
            self.agreement.value = ""
            return
        left, right = self.shown
        if self._edit is not None:
            tokens = self.group.value == "tokens"
            self.agreement.value = score_change(left, right, self.selected) if tokens else ""
        else:
            left, right = self._grouped
            self.agreement.value = _agreement(left, right, self.selected)

    def _check(self, _: Any) -> None:
        record, test = self.shown[0], self._test
        assert test is not None

        def done(faithfulness: Any) -> None:
            self._tested[id(record)] = faithfulness.strip()
            self._draw()

        self.runner.run("Faithfulness", lambda progress: test(record, progress=progress), done)

    def shown_html(self) -> str:
        if len(self.shown) > 1 and self._edit is None:
            return str(self._grouped[0].compare(self._grouped[1]).fragment())
        below = self.agreement.value
        return below + "".join(
            str(saliency_view(record, first=self.selected)) for record in self._grouped
        )


def _agreement(left: Attribution, right: Attribution, output: int) -> str:
    """How far two attributions agree on one output and on average, as HTML."""
    comparison = left.compare(right)
    outputs = np.asarray(left.outputs).tolist()
    if output not in outputs:
        return ""
    k, tokens = outputs.index(output), left.tokens
    name = visible(tokens.texts[tokens.prompt_length + output])
    correlation, overlap = comparison.rank_correlation, comparison.overlap
    defined = correlation[~np.isnan(correlation)]
    mean = float(defined.mean()) if defined.size else np.nan
    return (
        '<div class="ecco-message ecco-agreement-line">Agreement on '
        f"“{escape(name)}”: <b>Spearman {_number(correlation[k])}</b>, top-5 overlap "
        f"{format_share(float(overlap[k]))}; mean of {len(outputs)}: Spearman {_number(mean)}, "
        f"overlap {format_share(float(overlap.mean()))}. One scale for both.</div>"
    )


def _number(value: float) -> str:
    return "–" if np.isnan(value) else format_number(float(value))


def _part(progress: Callable[[float], None], k: int, of: int, done: float) -> None:
    """Tells the part that is done of several things, of which this is the k-th."""
    progress((k + done) / of)
