"""The studio: a prompt, a generation, and every explorer over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets

from ecco_captum.display.colours import theme_css
from ecco_captum.display.page import escape
from ecco_captum.widgets.explorer import SHEET, row
from ecco_captum.widgets.runner import Runner

_PROMPT = "The countries of the European Union are:\n1. Austria\n2. Belgium\n3. Bulgaria\n4."


@dataclass(frozen=True)
class Analyses:
    r"""
    What a studio is handed of a model.

    Args:
        name (str): The model's name.
        write (Callable): ``write(prompt, max_new_tokens=, seed=, progress=)`` returns a generation.
        tabs (mapping): From a title to ``analyse(generation, progress=)``, which returns an
            explorer.
    """

    name: str
    write: Callable[..., Any]
    tabs: Mapping[str, Callable[..., Any]]


class Studio(ipywidgets.VBox):  # type: ignore[misc]  # it has no types
    r"""
    Write a prompt, let the model go on, and look at it from every side.

    A tab is computed when it is opened first, and kept until the next text is written.

    Args:
        analyses (Analyses): What computes.
    """

    def __init__(self, analyses: Analyses) -> None:
        self.analyses = analyses
        self.generation: Any = None
        self.runner = Runner()
        style = {"description_width": "initial"}
        self.prompt = ipywidgets.Textarea(
            value=_PROMPT, layout={"width": "100%", "height": "110px"}, placeholder="A prompt"
        )
        self.length = ipywidgets.BoundedIntText(
            value=20, min=1, max=500, description="Tokens", style=style, layout={"width": "130px"}
        )
        self.sampled = ipywidgets.Checkbox(value=False, description="sample", indent=False)
        self.sampled.layout.width = "auto"
        self.seed = ipywidgets.BoundedIntText(
            value=0, min=0, description="Seed", style=style, layout={"width": "120px"}
        )
        self.temperature = ipywidgets.BoundedFloatText(
            value=1.0,
            min=0.01,
            max=5.0,
            step=0.1,
            description="Temperature",
            style=style,
            layout={"width": "150px"},
        )
        self.generate = ipywidgets.Button(
            description="Generate", button_style="primary", layout={"width": "auto"}
        )
        self.generate.on_click(self._generate)
        self.text = ipywidgets.HTML()
        self.tabs = ipywidgets.Tab(layout={"display": "none"})
        self.tabs.observe(self._open, "selected_index")
        sheet = ipywidgets.HTML(f"<style>{theme_css('.ecco-explorer')}{SHEET}</style>")
        sheet.layout.display = "none"
        controls = row(self.length, self.sampled, self.seed, self.temperature, self.generate)
        super().__init__([sheet, self.prompt, controls, self.runner, self.text, self.tabs])
        self.add_class("ecco-explorer")

    def _generate(self, _: Any) -> None:
        prompt, options = self.prompt.value, dict[str, Any](max_new_tokens=self.length.value)
        if self.sampled.value:
            drawn = {"seed": self.seed.value, "temperature": self.temperature.value}
            options |= {"do_sample": True, **drawn}

        def work(progress: Callable[[float], None]) -> Any:
            return self.analyses.write(prompt, progress=progress, **options)

        self.runner.run("Generating", work, self._written)

    def _written(self, generation: Any) -> None:
        self.generation = generation
        start, texts = generation.tokens.prompt_length, generation.tokens.texts
        prompt, output = "".join(texts[:start]), "".join(texts[start:])
        self.text.value = f'<div class="ecco-written">{escape(prompt)}<b>{escape(output)}</b></div>'
        for page in self.tabs.children:
            page.close()
        self.tabs.selected_index = None
        self.tabs.children = [ipywidgets.VBox() for _ in self.analyses.tabs]
        self.tabs.titles = list(self.analyses.tabs)
        self.tabs.layout.display = ""
        self.tabs.selected_index = 0

    def _open(self, change: Any) -> None:
        """Computes what a tab shows when it is opened first."""
        index, generation = change["new"], self.generation
        if index is None or generation is None:
            return
        page, title = self.tabs.children[index], list(self.analyses.tabs)[index]
        if page.children:
            return
        runner = Runner()
        page.children = [runner]
        analyse = self.analyses.tabs[title]

        def done(explorer: Any) -> None:
            page.children = [explorer]

        runner.run(title, lambda progress: analyse(generation, progress=progress), done)
