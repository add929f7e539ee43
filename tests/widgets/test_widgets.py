"""The token strip as Python sees it: traits, bytes sent once, and the static view beside it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import traitlets
from view_samples import countries, masked

from ecco_captum import widgets
from ecco_captum.attribution.html import first_output, pack_scores, saliency_script, saliency_view


def test_scores_are_sent_as_the_bytes_of_the_triangle() -> None:
    tokens, scores = countries()
    state = widgets.TokenStrip(tokens, scores).get_state()
    assert bytes(state["_scores"]) == pack_scores(tokens, scores)
    assert len(state["_scores"]) == 4 * sum(tokens.prompt_length + t for t in range(len(scores)))
    assert state["_data"]["prompt"] == tokens.prompt_length
    assert len(state["_data"]["texts"]) == len(tokens)
    assert state["_script"] == saliency_script()


def test_selecting_sends_the_selection_and_not_the_scores() -> None:
    strip = widgets.TokenStrip(*countries())
    sent: list[set[str]] = []
    strip.comm = SimpleNamespace(
        comm_id="1",
        kernel=True,
        on_msg=lambda _: None,
        send=lambda data, buffers=None: sent.append(set(data["state"])),
        close=lambda *_, **__: None,
    )
    strip.selected = (strip.selected + 1) % 9
    assert sent == [{"selected"}]


def test_selected_starts_at_the_first_view_and_stays_among_the_outputs() -> None:
    tokens, scores = countries()
    strip = widgets.TokenStrip(tokens, scores)
    assert strip.selected == first_output(tokens, scores)
    assert strip.hovered == -1
    seen = []
    strip.observe(lambda change: seen.append(change["new"]), "selected")
    strip.selected = 0
    strip.selected = 8
    assert seen == [0, 8]
    for value in (-1, 9):
        with pytest.raises(traitlets.TraitError, match=f"selected: got {value}, accepts .* 0 to 8"):
            strip.selected = value
    assert strip.selected == 8


def test_only_explained_outputs_can_be_selected() -> None:
    tokens, scores = countries()
    some = [2, 3, 4, 8]
    strip = widgets.TokenStrip(tokens, scores[some], outputs=some)
    assert strip.selected == first_output(tokens, scores[some], outputs=some)
    state = strip.get_state()
    assert state["_data"]["outputs"] == some
    assert bytes(state["_scores"]) == pack_scores(tokens, scores[some], outputs=some)
    strip.selected = 3
    for value in (0, 5, 9):
        with pytest.raises(traitlets.TraitError, match=rf"selected: got {value}, .* 2 to 4, 8$"):
            strip.selected = value
    assert strip.selected == 3


def test_the_widget_knows_tasks_places_and_what_is_below() -> None:
    tokens, scores, places = masked()
    options = {"task": "masked", "places": places, "below": "<p>below</p>"}
    strip = widgets.TokenStrip(tokens, scores, **options)
    state = strip.get_state()
    assert state["_data"]["places"] == places
    assert state["_frame"].index("ecco-swap") < state["_frame"].index("<p>below</p>")
    bundle, _ = strip._repr_mimebundle_()
    assert bundle["text/html"] == saliency_view(tokens, scores, **options)


def test_where_no_widget_can_live_the_static_view_is_shown() -> None:
    tokens, scores = countries()
    words = {"title": "<T>", "subtitle": "s", "unit": "u", "note": "n"}
    bundle, _ = widgets.TokenStrip(tokens, scores, **words)._repr_mimebundle_()
    assert bundle["text/html"] == saliency_view(tokens, scores, **words)
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_texts_around_the_widget_are_escaped() -> None:
    state = widgets.TokenStrip(*countries(), title="<img src=x onerror=alert(1)>").get_state()
    assert "<img" not in state["_frame"]
    assert "&lt;img" in state["_frame"]


@pytest.mark.parametrize("record", [None, np.zeros((2, 2)), SimpleNamespace(tokens=1, scores=2)])
def test_explore_refuses_what_it_does_not_know(record: object) -> None:
    with pytest.raises(
        TypeError, match=f"record: got a {type(record).__name__}, accepts one of Attr"
    ):
        widgets.explore(record)  # type: ignore[arg-type]


def test_scores_that_cannot_be_drawn_are_refused() -> None:
    tokens, scores = countries()
    with pytest.raises(ValueError, match="scores: got nan"):
        widgets.TokenStrip(tokens, np.where(scores > 0, np.nan, 0))


def test_the_folder_is_no_package_of_another_name() -> None:
    spec = importlib.util.spec_from_file_location("widgets", widgets.__file__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match="imported as 'widgets'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_assets_are_installed_beside_the_code() -> None:
    shipped = {path.name for path in Path(widgets.__file__).parent.iterdir()}
    assert {"strip.py", "strip.js", "strip.css"} <= shipped


def test_widgets_need_no_model_library() -> None:
    code = (
        "import sys, ecco_captum.widgets, ecco_captum.attribution.html;"
        "print([m for m in ('torch', 'transformers', 'captum', 'pandas') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_strip_draws_another_text_in_the_same_place() -> None:
    tokens, scores = countries()
    strip = widgets.TokenStrip(tokens, scores)
    strip.selected = 4
    strip.show(tokens, scores[[2, 4]], outputs=[2, 4], selected=4, title="Again?")
    state = strip.get_state()
    assert state["selected"] == 4
    assert state["_data"]["outputs"] == [2, 4]
    assert bytes(state["_scores"]) == pack_scores(tokens, scores[[2, 4]], outputs=[2, 4])
    assert "Again?" in state["_frame"]
    strip.show(tokens, scores[[2]], outputs=[2], selected=4)
    assert strip.selected == 2, "what is not explained cannot stay chosen"
    with pytest.raises(ValueError, match="scores: got nan"):
        strip.show(tokens, np.full_like(scores, np.nan))
    assert strip.get_state()["_data"]["outputs"] == [2], "nothing is half-changed"


def test_of_very_many_scores_each_output_is_sent_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens, scores = countries()
    monkeypatch.setattr("ecco_captum.widgets.strip.MOST_SCORES", 50)
    strip = widgets.TokenStrip(tokens, scores)
    state = strip.get_state()
    assert bytes(state["_scores"]) == b""
    assert state["_data"]["later"] is True
    sent: list[tuple[dict[str, int], list[bytes]]] = []
    monkeypatch.setattr(strip, "send", lambda content, buffers: sent.append((content, buffers)))
    strip._asked(strip, {"row": 3, "shown": state["_shown"]}, [])
    strip._asked(strip, {"row": 99, "shown": state["_shown"]}, [])
    strip._asked(strip, {"row": 3, "shown": state["_shown"] - 1}, [])
    ((content, (buffer,)),) = sent
    assert content["row"] == 3
    expected = scores[3, : tokens.prompt_length + 3].astype("<f4")
    np.testing.assert_array_equal(np.frombuffer(buffer, "<f4"), expected)
    bundle = strip._repr_mimebundle_()
    assert bundle is not None
    assert "<script" not in bundle[0]["text/html"]
