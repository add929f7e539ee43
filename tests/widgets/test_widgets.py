"""The token strip as Python sees it: traits, bytes sent once, and the static view beside it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import traitlets
from view_samples import countries, hostile, masked, only

from ecco_captum import widgets
from ecco_captum.attribution.html import pack_scores, saliency_data, saliency_script


def test_scores_are_sent_as_the_bytes_of_the_triangle() -> None:
    record = countries()
    state = widgets.TokenStrip(record).get_state()
    assert bytes(state["_scores"]) == pack_scores(record)
    assert len(state["_scores"]) == 4 * sum(11 + t for t in range(9))
    assert state["_data"]["prompt"] == 11
    assert len(state["_data"]["texts"]) == 20
    assert state["_script"] == saliency_script()


def test_selecting_sends_the_selection_and_not_the_scores() -> None:
    strip = widgets.TokenStrip(countries())
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
    strip = widgets.TokenStrip(countries())
    assert strip.selected == saliency_data(countries())["first"]
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
    some = only(countries(), [2, 3, 4, 8])
    strip = widgets.TokenStrip(some)
    assert strip.selected == saliency_data(some)["first"]
    state = strip.get_state()
    assert state["_data"]["outputs"] == [2, 3, 4, 8]
    assert bytes(state["_scores"]) == pack_scores(some)
    strip.selected = 3
    for value in (0, 5, 9):
        with pytest.raises(traitlets.TraitError, match=rf"selected: got {value}, .* 2 to 4, 8$"):
            strip.selected = value
    assert strip.selected == 3


def test_the_widget_knows_places_and_what_is_below() -> None:
    strip = widgets.TokenStrip(masked(), below="<p>below</p>")
    state = strip.get_state()
    assert state["_data"]["places"] == [4, 6]
    assert state["_frame"].index("ecco-swap") < state["_frame"].index("<p>below</p>")
    bundle, _ = strip._repr_mimebundle_()
    assert bundle["text/html"] == masked().fragment("<p>below</p>")


def test_where_no_widget_can_live_the_static_view_is_shown() -> None:
    bundle, _ = widgets.TokenStrip(countries())._repr_mimebundle_()
    assert bundle["text/html"] == countries().fragment()
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_texts_around_the_widget_are_escaped() -> None:
    state = widgets.TokenStrip(hostile()).get_state()
    assert "<img" not in state["_frame"]
    assert "&lt;img" in state["_frame"]


@pytest.mark.parametrize("record", [None, np.zeros((2, 2)), SimpleNamespace(tokens=1, scores=2)])
def test_explore_refuses_what_it_does_not_know(record: object) -> None:
    with pytest.raises(
        TypeError, match=f"record: got a {type(record).__name__}, accepts one of Attr"
    ):
        widgets.explore(record)  # type: ignore[arg-type]


def test_the_folder_is_no_package_of_another_name() -> None:
    spec = importlib.util.spec_from_file_location("widgets", widgets.__file__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match="imported as 'widgets'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_widgets_need_no_model_library() -> None:
    code = (
        "import sys, ecco_captum.widgets, ecco_captum.attribution.html;"
        "print([m for m in ('torch', 'transformers', 'captum', 'pandas') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_strip_draws_another_text_in_the_same_place() -> None:
    strip = widgets.TokenStrip(countries())
    strip.selected = 4
    some = only(countries(label="another method"), [2, 4])
    strip.show(some, selected=4)
    state = strip.get_state()
    assert state["selected"] == 4
    assert state["_data"]["outputs"] == [2, 4]
    assert bytes(state["_scores"]) == pack_scores(some)
    assert "another method" in state["_frame"]
    strip.show(only(countries(), [2]), selected=4)
    assert strip.selected == 2, "what is not explained cannot stay chosen"


def test_of_very_many_scores_each_output_is_sent_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ecco_captum.widgets.view.MOST_SCORES", 50)
    strip = widgets.TokenStrip(countries())
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
    expected = countries().scores[3, : 11 + 3].astype("<f4")
    np.testing.assert_array_equal(np.frombuffer(buffer, "<f4"), expected)
    bundle = strip._repr_mimebundle_()
    assert bundle is not None
    assert "<script" not in bundle[0]["text/html"]
