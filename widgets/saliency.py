"""The saliency explorer: where each token came from, by one method or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets
import traitlets

from ecco_captum.widgets.explorer import Explorer, choice, row
from ecco_captum.widgets.runner import Runner
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
    ) -> None:
        self._compute, self._test = compute, test
        self.runner = Runner()
        self._known: dict[tuple[Any, ...], Attribution] = {}
        self._tested: dict[int, str] = {}
        self._build(record, methods)
        self._known[self._key(self.method.value)] = record
        self.shown: tuple[Attribution, ...] = (record,)
        self._drawn = ""
        self.strips: list[TokenStrip] = []
        self.view = ipywidgets.HBox()
        self.view.add_class("ecco-sides")
        controls = [self.check] if test else []
        if record.spans is None:
            controls = [self.group, *controls]
        if compute is not None:
            several = [self.method, self.score, self.versus, self.aggregate, self.beside]
            controls = [*several, *controls]
        super().__init__(record, [row(*controls), self.runner, self.view])
        self._draw()

    def _build(self, record: Attribution, methods: Sequence[Any]) -> None:
        methods = [
            (method, method) if isinstance(method, str) else tuple(method) for method in methods
        ]
        if record.method not in [name for _, name in methods]:
            methods = [(record.label or record.method, record.method), *methods]
        self._titles = {name: title for title, name in methods}
        self.method = choice("Method", methods, record.method)
        self.score = choice("Score", _SCORES, record.score)
        self.versus = ipywidgets.Text(
            value=", ".join(record.versus),
            description="Against",
            placeholder="a token, such as ' Paris'",
            continuous_update=False,
            style={"description_width": "initial"},
            layout={"width": "230px"},
        )
        self.aggregate = choice("Embedding", _AGGREGATES, "")
        self.beside = choice("Beside", [_NOTHING, *methods], "")
        self.group = ipywidgets.ToggleButtons(
            options=["tokens", "words"], style={"button_width": "auto"}
        )
        self.check = ipywidgets.Button(description="Does it hold?", layout={"width": "auto"})
        for control in (self.method, self.score, self.versus, self.aggregate, self.beside):
            control.observe(self._asked, "value")
        self.group.observe(lambda _: self._draw(), "value")
        self.check.on_click(self._check)

    def _key(self, method: str) -> tuple[Any, ...]:
        return method, self.score.value, self.versus.value, self.aggregate.value

    def _asked(self, change: Any) -> None:
        """Something else is wanted: what is known is shown at once, what is not is computed."""
        wanted = [self.method.value, *([self.beside.value] if self.beside.value else [])]
        keys = [self._key(method) for method in wanted]
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        if not missing:
            self.runner.drop()  # what was wanted before must not take this one's place
            self._put(keys)
            return

        def work(progress: Callable[[float], None]) -> None:
            for k, key in enumerate(missing):
                share = partial(_part, progress, k, len(missing))
                self._known[key] = self._computed(key, share)

        what = " and ".join(self._titles[key[0]] for key in missing)
        self.runner.run(what, work, lambda _: self._put(keys))

    def _computed(self, key: tuple[Any, ...], progress: Callable[[float], None]) -> Attribution:
        assert self._compute is not None
        method, score, versus, aggregate = key
        foils = [part for part in versus.split(",") if part.strip()]
        return self._compute(
            method=method,
            score=score,
            versus=(foils if len(foils) > 1 else foils[0]) if foils else None,
            aggregate=aggregate or None,
            progress=progress,
        )

    def _put(self, keys: Sequence[tuple[Any, ...]]) -> None:
        self.shown = tuple(self._known[key] for key in keys)
        self.record = self.shown[0]
        self._draw()

    def _draw(self) -> None:
        """Draws what is shown, the same output chosen as before."""
        group = self.group.value
        records = [record.by_word() if group == "words" else record for record in self.shown]
        below = self._tested.get(id(self.record), "")
        kept = self.selected if self._drawn == group else None
        self._drawn = group
        for k, record in enumerate(records):
            own = "" if k else below
            if k < len(self.strips):
                self.strips[k].show(record, below=own, selected=kept)
            else:
                self.strips.append(self._strip(record, own, kept))
        self.selected = self.strips[0].selected
        if len(self.view.children) != len(records):
            self.view.children = self.strips[: len(records)]

    def _strip(self, record: Attribution, below: str, selected: int | None) -> TokenStrip:
        strip = TokenStrip(record, below=below)
        if selected is not None and selected in strip.explained:
            strip.selected = selected
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

    def _check(self, _: Any) -> None:
        record, test = self.shown[0], self._test
        assert test is not None

        def done(faithfulness: Any) -> None:
            self._tested[id(record)] = faithfulness.strip()
            self._draw()

        self.runner.run("Faithfulness", lambda progress: test(record, progress=progress), done)


def _part(progress: Callable[[float], None], k: int, of: int, done: float) -> None:
    """Tells the part that is done of several things, of which this is the k-th."""
    progress((k + done) / of)
