"""The studio, and the work that it and explorers do beside the notebook."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from explorer_samples import GENERATION, LM, settled
from method_samples import subject

import ecco_captum as ec
from ecco_captum import widgets
from ecco_captum.widgets.callbacks import analyses
from ecco_captum.widgets.runner import CancelledError, Runner
from ecco_captum.widgets.studio_page import Studio


def test_the_studio_writes_and_opens_every_tab() -> None:
    studio = widgets.studio(LM)
    studio.prompt.value, studio.length.value = "a b c", 3
    studio.generate.click()
    assert settled(studio.runner) == ""
    expected = ec.generate(LM, "a b c", max_new_tokens=3, progress=False)
    assert studio.generation.text == expected.text
    for k in range(len(studio.tabs.titles)):
        studio.tabs.selected_index = k
        shown = studio.tabs.children[k].children[-1]
        if isinstance(shown, Runner):
            assert settled(shown) == ""
            shown = studio.tabs.children[k].children[-1]
        assert isinstance(shown, widgets.Explorer)
        strips = sum(isinstance(part, widgets.TokenStrip) for part in walked(shown))
        factors = studio.tabs.titles[k] == "Neuron factors"
        own = [part for part in studio.tabs.children[k].children if part is not shown]
        assert len(own) + strips + factors == 1, "the text stands there once"
    assert "Probes" in studio.tabs.titles
    opened = studio.tabs.children[1].children
    studio.tabs.selected_index = 0
    studio.tabs.selected_index = 1
    assert studio.tabs.children[1].children == opened, "what was computed is kept"
    with pytest.raises(TypeError, match="lm: got a str"):
        widgets.studio("gpt2")


def walked(widget: Any) -> Iterator[Any]:
    """A widget and all that is in it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walked(child)


def test_the_studio_disables_what_it_cannot_do_yet() -> None:
    studio = widgets.studio(LM)
    assert studio.seed.disabled
    assert studio.temperature.disabled
    assert studio.save.disabled
    assert not studio.generate.disabled
    studio.sampled.value = True
    assert not studio.seed.disabled
    assert not studio.temperature.disabled
    studio.prompt.value = "  "
    assert studio.generate.disabled
    assert "Write a prompt first" in studio.hint.value
    assert studio.hint.layout.display == ""
    studio.prompt.value = "a b c"
    assert not studio.generate.disabled
    assert studio.hint.layout.display == "none"


def test_a_text_of_other_settings_is_stale() -> None:
    studio = widgets.studio(LM)
    studio.prompt.value, studio.length.value = "a b c", 2
    studio.generate.click()
    assert settled(studio.runner) == ""
    assert not studio.stale.on
    studio.seed.value = 3
    assert not studio.stale.on, "nothing is drawn"
    studio.prompt.value = "a b c d"
    assert studio.stale.on
    assert "ecco-stale" in studio.tabs._dom_classes
    studio.stale.button.click()
    assert studio.prompt.value == "a b c"
    assert not studio.stale.on
    studio.length.value = 3
    assert studio.stale.on
    studio.generate.click()
    assert settled(studio.runner) == ""
    assert not studio.stale.on


def test_the_studio_saves_a_report(tmp_path: Path) -> None:
    def report(generation: Any, path: str, *, progress: Any) -> str:
        (tmp_path / path).write_text(generation.text)
        return path

    made = analyses(LM)
    studio = Studio(replace(made, report=report))
    studio.prompt.value, studio.length.value = "a b c", 2
    studio.generate.click()
    assert settled(studio.runner) == ""
    assert not studio.save.disabled
    studio.path.value = ""
    assert studio.save.disabled
    studio.path.value = "page.html"
    studio.save.click()
    assert "Saved as page.html" in settled(studio.saver)
    assert (tmp_path / "page.html").read_text() == studio.generation.text
    assert made.report is not None


def test_the_studio_of_a_model_that_does_not_write_has_no_settings_of_writing() -> None:
    lm, _ = subject("classification:bert")
    studio = widgets.studio(lm)
    assert studio.generate.description == "Analyse"
    assert studio.length not in list(walked(studio))


def test_the_studio_draws_where_it_is_asked_to() -> None:
    studio = widgets.studio(LM)
    studio.prompt.value, studio.length.value = "a b c", 6
    studio.sampled.value, studio.seed.value, studio.temperature.value = True, 3, 1.5
    studio.generate.click()
    assert settled(studio.runner) == ""
    expected = ec.generate(
        LM, "a b c", max_new_tokens=6, seed=3, do_sample=True, temperature=1.5, progress=False
    )
    assert studio.generation.output_ids.tolist() == expected.output_ids.tolist()


def test_work_is_cancelled_where_it_tells_how_far_it_is() -> None:
    runner, begun, results = Runner(), threading.Event(), list[int]()

    def work(tell: Callable[[float], None]) -> int:
        for k in range(10_000):
            tell(k / 10_000)
            begun.set()
            threading.Event().wait(0.002)
        return 1

    runner.run("Long work", work, results.append)
    assert begun.wait(10)
    assert runner.button.layout.display == ""
    runner.button.click()
    assert "Long work: cancelled" in settled(runner)
    assert runner.button.layout.display == "none"
    assert not results
    begun.clear()
    runner.run("Long work", work, results.append)
    assert begun.wait(10)
    runner.run("Short work", lambda tell: 2, results.append)
    assert settled(runner) == ""
    assert results == [2], "a new one takes the place of the one before"


def test_a_run_that_was_replaced_leaves_the_bar_to_its_successor() -> None:
    runner, begun, go_on = Runner(), threading.Event(), threading.Event()
    first_ends, done = threading.Event(), list[int]()

    def first(tell: Callable[[float], None]) -> int:
        begun.set()
        first_ends.wait(10)
        tell(0.5)  # ends here, by an error: it was replaced
        return 1

    second_begun = threading.Event()

    def second(tell: Callable[[float], None]) -> int:
        second_begun.set()
        go_on.wait(10)
        return 2

    runner.run("First", first, done.append)
    assert begun.wait(10)
    runner.run("Second", second, done.append)
    first_ends.set()
    assert second_begun.wait(10)
    assert runner.bar.layout.display == runner.button.layout.display == ""
    assert "Second" in str(runner.message.value)
    runner.button.click()
    go_on.set()
    assert "Second: cancelled" in settled(runner)
    assert runner.button.layout.display == "none"
    assert not done


@pytest.mark.parametrize("ending", [ValueError("x: got 1"), None])
def test_what_a_replaced_run_ends_with_is_not_shown(ending: Exception | None) -> None:
    runner, begun, release = Runner(), threading.Event(), threading.Event()

    def first(tell: Callable[[float], None]) -> None:
        begun.set()
        release.wait(10)
        if ending:
            raise ending

    def second(tell: Callable[[float], None]) -> str:
        return str(runner.message.value) + str(runner.bar.layout.display)

    seen = list[str]()
    runner.run("First", first, print)
    assert begun.wait(10)
    runner.run("Second", second, seen.append)
    release.set()
    settled(runner)
    assert "Second" in seen[0]
    assert "none" not in seen[0]
    assert "First" not in seen[0]


def test_what_fails_says_why_and_is_no_markup() -> None:
    runner = Runner()

    def work(tell: Callable[[float], None]) -> None:
        raise ValueError("x: got <b>")

    runner.run("Work", work, print)
    assert "Work: &lt;b&gt; does not work" in settled(runner)
    assert issubclass(CancelledError, Exception)


def test_who_goes_back_while_something_is_computed_stays_there() -> None:
    record = ec.saliency(LM, GENERATION, progress=False)
    begun, go_on = threading.Event(), threading.Event()

    def compute(**options: object) -> ec.Attribution:
        begun.set()
        go_on.wait(10)
        return ec.saliency(LM, GENERATION, method="saliency", progress=False)

    explorer = widgets.explore(record, compute=compute, methods=["saliency"])
    explorer.method.value = "saliency"
    assert begun.wait(10)
    explorer.method.value = "input_x_gradient"
    go_on.set()
    settled(explorer.runner)
    assert explorer.shown == (record,)
