"""The studio: a prompt, a generation, and every explorer over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets

from ecco_captum.display.colours import theme_css
from ecco_captum.display.page import escape
from ecco_captum.widgets.explorer import SHEET, Stale, Still, row
from ecco_captum.widgets.runner import Runner

_PROMPT = "The countries of the European Union are:\n1. Austria\n2. Belgium\n3. Bulgaria\n4."
_EMPTY = "Write a prompt first, such as “The capital of France is”; the model goes on from it."


@dataclass(frozen=True)
class Analyses:
    r"""
    What a studio is handed of a model.

    Args:
        name (str): The model's name.
        write (Callable): ``write(prompt, max_new_tokens=, seed=, progress=)`` returns a generation.
        tabs (mapping): From a title to ``analyse(generation, progress=)``, which returns an
            explorer.
        report (Callable, optional): ``report(generation, path, progress=)`` writes a page with
            every analysis, and returns its path. Default: ``None``
        writes (bool, optional): Whether the model writes on, and has settings of that.
            Default: ``True``
        shows_text (tuple of str, optional): Titles of tabs that show the text. Default: ``()``
    """

    name: str
    write: Callable[..., Any]
    tabs: Mapping[str, Callable[..., Any]]
    report: Callable[..., Any] | None = None
    writes: bool = True
    shows_text: tuple[str, ...] = ()


class Studio(ipywidgets.VBox):  # type: ignore[misc]  # it has no types
    r"""
    Write a prompt, let the model go on, and look at it from every side.

    A tab is computed when it is opened first, and kept until the next text is written. What cannot
    be done yet is disabled.

    Args:
        analyses (Analyses): What computes.
    """

    def __init__(self, analyses: Analyses) -> None:
        self.analyses = analyses
        self.generation: Any = None
        self._settings: tuple[Any, ...] = ()
        self.runner, self.stale = Runner(), Stale(self._back)
        self._build_controls()
        self.tabs = ipywidgets.Tab(layout={"display": "none"})
        self.tabs.observe(self._open, "selected_index")
        sheet = ipywidgets.HTML(f"<style>{theme_css('.ecco-explorer')}{SHEET}</style>")
        sheet.layout.display = "none"
        several = [self.length, self.sampled, self.seed, self.temperature]
        controls = row(*(several if analyses.writes else []), self.generate)
        saving = [row(self.path, self.save), self.saver] if analyses.report else []
        parts = [self.prompt, self.hint, controls, self.runner, self.stale, self.tabs, *saving]
        super().__init__([sheet, *parts])
        self.add_class("ecco-explorer")
        self._changed()

    def _display_(self) -> Still:
        """What marimo shows, which asks for this first: it draws no controls of ipywidgets."""
        return Still("", f"Studio of {self.analyses.name}")

    def _build_controls(self) -> None:
        style = {"description_width": "initial"}
        self.prompt = ipywidgets.Textarea(
            value=_PROMPT, layout={"width": "100%", "height": "110px"}, placeholder="A prompt"
        )
        self.hint = ipywidgets.HTML()
        self.length = ipywidgets.BoundedIntText(
            value=20,
            min=1,
            max=500,
            description="Tokens",
            tooltip="How many tokens the model writes at most",
            style=style,
            layout={"width": "130px"},
        )
        self.sampled = ipywidgets.Checkbox(
            value=False,
            description="sample",
            tooltip="Draws each token at random; without it, the most probable one is taken",
            indent=False,
        )
        self.sampled.layout.width = "auto"
        self.seed = ipywidgets.BoundedIntText(
            value=0,
            min=0,
            description="Seed",
            tooltip="The same seed draws the same text",
            style=style,
            layout={"width": "120px"},
        )
        self.temperature = ipywidgets.BoundedFloatText(
            value=1.0,
            min=0.01,
            max=5.0,
            step=0.1,
            description="Temperature",
            tooltip="Above 1 the text varies more, below 1 less",
            style=style,
            layout={"width": "150px"},
        )
        self.generate = ipywidgets.Button(
            description="Generate" if self.analyses.writes else "Analyse",
            button_style="primary",
            layout={"width": "auto"},
        )
        self.path = ipywidgets.Text(
            value="report.html",
            description="Report",
            tooltip="The file that every analysis of this text is written to",
            style=style,
            layout={"width": "260px"},
        )
        self.save = ipywidgets.Button(
            description="Save report",
            tooltip="Runs every analysis of this text with its test, and writes one page",
            layout={"width": "auto"},
        )
        self.saver = Runner()
        for control in (self.prompt, self.length, self.sampled, self.seed, self.temperature):
            control.observe(lambda _: self._changed(), "value")
        self.path.observe(lambda _: self._changed(), "value")
        self.generate.on_click(self._generate)
        self.save.on_click(self._save)

    def _asked(self) -> tuple[Any, ...]:
        """What the controls say; a seed without a draw says nothing."""
        drawn = (self.seed.value, self.temperature.value) if self.sampled.value else ()
        return self.prompt.value, self.length.value, *drawn

    def _changed(self) -> None:
        """What cannot be done is disabled; a text of other settings is marked."""
        empty = not self.prompt.value.strip()
        self.generate.disabled = empty
        self.hint.value = f'<div class="ecco-message">{_EMPTY}</div>' if empty else ""
        self.hint.layout.display = "" if empty else "none"
        self.seed.disabled = self.temperature.disabled = not self.sampled.value
        self.save.disabled = self.generation is None or not self.path.value.strip()
        if self.generation is None or self._asked() == self._settings:
            self.stale.clear()
        elif not self.stale.on:
            self.stale.mark("the text of the prompt and settings before", self.tabs)

    def _back(self) -> None:
        prompt, length, *drawn = self._settings
        self.prompt.value, self.length.value, self.sampled.value = prompt, length, bool(drawn)
        if drawn:
            self.seed.value, self.temperature.value = drawn

    def _generate(self, _: Any) -> None:
        asked, prompt = self._asked(), self.prompt.value
        options = dict[str, Any](max_new_tokens=self.length.value)
        if self.sampled.value:
            drawn = {"seed": self.seed.value, "temperature": self.temperature.value}
            options |= {"do_sample": True, **drawn}

        def work(progress: Callable[[float], None]) -> Any:
            return self.analyses.write(prompt, progress=progress, **options)

        def done(generation: Any) -> None:
            self._written(generation, asked)

        self.runner.run("Generating", work, done)

    def _written(self, generation: Any, asked: tuple[Any, ...]) -> None:
        self.generation, self._settings = generation, asked
        self.saver.drop()
        for page in self.tabs.children:
            page.close()
        self.tabs.selected_index = None
        self.tabs.children = [ipywidgets.VBox() for _ in self.analyses.tabs]
        self.tabs.titles = list(self.analyses.tabs)
        self.tabs.layout.display = ""
        self.tabs.selected_index = 0
        self._changed()

    def _text(self) -> Any:
        """The text, for tabs whose explorer does not show it."""
        tokens = self.generation.tokens
        start, texts = tokens.prompt_length, tokens.texts
        prompt, output = "".join(texts[:start]), "".join(texts[start:])
        return ipywidgets.HTML(
            f'<div class="ecco-written">{escape(prompt)}<b>{escape(output)}</b></div>'
        )

    def _open(self, change: Any) -> None:
        """Computes what a tab shows when it is opened first."""
        index, generation = change["new"], self.generation
        if index is None or generation is None:
            return
        page, title = self.tabs.children[index], list(self.analyses.tabs)[index]
        if page.children:
            return
        runner = Runner()
        above = [] if title in self.analyses.shows_text else [self._text()]
        page.children = [*above, runner]
        analyse = self.analyses.tabs[title]

        def done(explorer: Any) -> None:
            page.children = [*above, explorer]

        runner.run(title, lambda progress: analyse(generation, progress=progress), done)

    def _save(self, _: Any) -> None:
        report, generation, path = self.analyses.report, self.generation, self.path.value.strip()
        assert report is not None
        self.saver.run(
            "Report",
            lambda progress: report(generation, path, progress=progress),
            lambda written: self.saver.say_last(f"Saved as {written}"),
        )
