"""Explorers in a real JupyterLab, on a real model: what is seen, and what the kernel knows."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from lab import Lab, Notebook
from page_reading import until

from ecco_captum.core.text import format_number

SETUP = """
import warnings, ecco_captum as ec
warnings.simplefilter("ignore")  # of fits that are short on purpose
lm = ec.load("smollm2-135m")
prompt = "The countries of the European Union are:\\n1. Austria\\n2. Belgium\\n3. Bulgaria\\n4."
generation = ec.generate(lm, prompt, max_new_tokens=8)
"""
CELLS = {
    "saliency": "a = ec.saliency(lm, generation).explore(lm)\na",
    "rankings": "r = ec.rankings(lm, generation).explore(lm)\nr",
    "watch": 'w = ec.rankings_watch(lm, "The keys to the cabinet", [" is", " are"]).explore()\nw',
    "factors": "acts = ec.neurons(lm, generation, layers=slice(0, 4))\n"
    'f = ec.nmf(acts, 4, negatives="split").explore(lm)\nf',
    "similarity": "states = ec.hidden_states(lm, generation)\n"
    "def other(measure, progress):\n"
    "    return ec.compare(states, measure=measure, n_draws=2, progress=progress)\n"
    's = ec.widgets.explore(other("cka", False), compute=other)\ns',
    "probes": "tags = ['long' if len(text) > 3 else 'short' for text in acts.tokens.texts] * 1\n"
    "p = ec.probe(acts, tags, epochs=5, trials=2, progress=False).explore()\np",
    "studio": "t = ec.widgets.studio(lm)\nt.length.value = 3\nt",
}


@pytest.fixture(scope="module")
def notebook(lab: Lab, browser: Any) -> Iterator[Notebook]:
    """All explorers, each in its cell."""
    lab.write("explorers", SETUP, *CELLS.values())
    context = browser.new_context(viewport={"width": 1280, "height": 1100})
    opened = Notebook(context.new_page(), lab, "explorers")
    opened.run()
    yield opened
    context.close()


@pytest.fixture(autouse=True)
def no_complaints(notebook: Notebook) -> Iterator[None]:
    """No test may leave an error on the console."""
    yield
    assert not notebook.complaints, "\n".join(notebook.complaints)


@pytest.fixture
def at(notebook: Notebook) -> Any:
    """The explorer of a cell, in view."""
    from playwright.sync_api import expect

    def explorer_of(kind: str) -> Any:
        cells = notebook.page.locator(".jp-CodeCell")
        explorer = cells.nth(1 + list(CELLS).index(kind)).locator(".ecco-explorer").first
        expect(explorer).to_be_visible()
        explorer.scroll_into_view_if_needed()
        return explorer

    return explorer_of


def choose(explorer: Any, description: str, option: str) -> None:
    """Takes an option of a list by its name."""
    explorer.get_by_label(description, exact=True).select_option(label=option)


def near(explorer: Any, clicked: Any) -> None:
    """What a click draws stands beside it, in the same screenful."""
    chart, cell = explorer.locator(".ecco-follows").first.bounding_box(), clicked.bounding_box()
    assert chart["x"] > cell["x"]
    assert abs(chart["y"] - cell["y"]) < 800
    main = explorer.locator(".ecco-main").first.bounding_box()
    assert chart["y"] - main["y"] < 20


def test_hover_a_token_and_its_sources_shade(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("saliency")
    outputs = explorer.locator("[role=option]")
    expect(outputs).to_have_count(8)
    outputs.nth(5).hover()
    expect(outputs.nth(5)).to_have_attribute("aria-selected", "true")
    notebook.until("a.selected, a.hovered", "(5, 5)")
    shares = json.loads(notebook.ask("a.shown[0].shares[5].tolist()"))
    strongest = max(range(len(shares)), key=lambda k: shares[k])
    expect(explorer.locator(".ecco-t").nth(strongest)).to_have_class(re.compile("ecco-s32"))
    expect(explorer.get_by_text(f"{100 * shares[strongest]:.1f}%").first).to_be_visible()
    outputs.nth(2).click()
    outputs.nth(6).hover()
    notebook.until("a.selected, a.hovered", "(2, 6)")  # it is pinned
    outputs.nth(2).press("ArrowRight")
    notebook.until("a.selected", "3")
    outputs.nth(3).press("Escape")


def test_methods_are_computed_beside_each_other(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("saliency")
    choose(explorer, "Method", "gradient")
    notebook.until("[one.method for one in a.shown]", "['saliency']")
    expect(explorer.get_by_text("· gradient ·").first).to_be_visible()
    choose(explorer, "Side by side", "gradient × input")
    notebook.until("[one.method for one in a.shown]", "['saliency', 'input_x_gradient']")
    strips = explorer.locator(".ecco-output")
    expect(strips).to_have_count(2)
    expect(explorer.locator(".ecco-agreement-line")).to_contain_text("Spearman")
    highs = explorer.locator(".ecco-foot .ecco-high")
    expect(highs.nth(1)).to_have_text(highs.nth(0).inner_text())  # one scale
    strips.nth(1).locator("[role=option]").nth(4).hover()
    notebook.until("a.selected", "4")
    chosen = strips.nth(0).locator("[role=option]").nth(4)
    expect(chosen).to_have_attribute("aria-selected", "true")
    explorer.get_by_role("button", name="words").click()
    notebook.until("a.group.value", "'words'")
    expect(explorer.locator(".ecco-output").first).to_be_visible()
    explorer.get_by_role("button", name="tokens").click()
    choose(explorer, "Side by side", "nothing")
    expect(explorer.locator(".ecco-output")).to_have_count(1)
    choose(explorer, "Method", "gradient × input")
    notebook.until("[one.method for one in a.shown]", "['input_x_gradient']")


def test_a_contrast_is_completed_and_warned_of(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("saliency")
    box = explorer.get_by_label("Contrast")
    box.press_sequentially("Franc")
    option = explorer.locator(".ecco-token-box option[value=' France']")
    expect(option).to_be_attached()
    expect(option).to_have_attribute("label", "\u2423France")
    box.fill("France")
    expect(explorer.locator(".ecco-hint-line")).to_contain_text("no space before it")
    assert notebook.ask("a.versus.value") == "''", "nothing is computed while one types"
    box.fill(" France")
    expect(explorer.locator(".ecco-hint-line")).to_have_text("")
    box.press("Enter")
    notebook.until("a.shown[0].versus", "(' France',)")
    expect(explorer.get_by_text("Still shown")).to_be_hidden()
    choose(explorer, "Score", "entropy")
    error = explorer.get_by_role("alert")
    plain = "Contrast: entropy has no token to contrast. Empty the box."
    expect(error).to_have_text(f"gradient × input: {plain}")
    assert error.evaluate("(node) => getComputedStyle(node).color") == "rgb(179, 38, 30)"
    explorer.get_by_role("button", name="Back to it").click()
    notebook.until("a.score.value, a.shown[0].score", "('logit', 'logit')")
    box.fill(" no single token")
    box.press("Enter")
    error = explorer.get_by_role("alert")
    expect(error).to_contain_text("Contrast: ' no single token' is 3 tokens")
    assert error.evaluate("(node) => getComputedStyle(node).color") == "rgb(179, 38, 30)"
    expect(explorer.locator(".ecco-stale").first).to_be_attached()
    explorer.get_by_role("button", name="Back to it").click()
    expect(box).to_have_value(" France")
    expect(explorer.locator(".ecco-stale")).to_have_count(0)
    box.fill("")
    box.press("Enter")
    notebook.until("a.shown[0].versus", "()")


def test_long_work_says_how_long_and_waits(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer, module = at("saliency"), "__import__('ecco_captum.widgets.runner', fromlist=['x'])"
    limit = notebook.ask(f"{module}._LONG")
    notebook.ask(f"setattr({module}, '_LONG', 1e-3)")
    choose(explorer, "Method", "occlusion")
    expect(explorer.get_by_text(re.compile("occlusion: about .* fewer outputs"))).to_be_visible()
    expect(explorer.get_by_role("button", name="Start")).to_be_visible()
    expect(explorer.get_by_text("Still shown: gradient × input, logit.")).to_be_visible()
    dimmed = explorer.locator(".ecco-stale").first
    assert float(dimmed.evaluate("(node) => getComputedStyle(node).opacity")) < 1
    notebook.ask(f"setattr({module}, '_LONG', {limit})")
    assert notebook.ask("[one.method for one in a.shown]") == "['input_x_gradient']"
    explorer.get_by_role("button", name="Back to it").click()
    expect(explorer.get_by_role("button", name="Start")).to_be_hidden()
    notebook.until("a.method.value", "'input_x_gradient'")


def test_long_work_that_is_started_is_done(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer, module = at("saliency"), "__import__('ecco_captum.widgets.runner', fromlist=['x'])"
    limit = notebook.ask(f"{module}._LONG")
    notebook.ask(f"setattr({module}, '_LONG', 1e-3)")
    choose(explorer, "Method", "DeepLIFT")
    start = explorer.get_by_role("button", name="Start")
    expect(start).to_be_visible()
    notebook.ask(f"setattr({module}, '_LONG', {limit})")
    start.click()
    expect(start).to_be_hidden()
    notebook.until("[one.method for one in a.shown]", "['deep_lift']", 120)
    expect(explorer.locator(".ecco-stale")).to_have_count(0)
    choose(explorer, "Method", "gradient × input")
    notebook.until("[one.method for one in a.shown]", "['input_x_gradient']")


def test_a_replaced_run_leaves_the_cancel_button(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("saliency")
    choose(explorer, "Method", "occlusion")
    choose(explorer, "Method", "feature ablation")
    expect(explorer.get_by_text(re.compile("^feature ablation"))).to_be_visible()
    notebook.until("a.runner._job.before is None or not a.runner._job.before.is_alive()", "True")
    cancel = explorer.get_by_role("button", name="Cancel")
    expect(cancel).to_be_visible()
    bar = explorer.locator(".ecco-runner .widget-hprogress").first
    expect(bar).to_be_visible()
    cancel.click()
    expect(explorer.get_by_text("feature ablation: cancelled")).to_be_visible()
    expect(bar).to_be_hidden()
    explorer.get_by_role("button", name="Back to it").click()


def test_a_word_is_edited_and_compared(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("saliency")
    choose(explorer, "Edit", "11: Austria")
    explorer.get_by_label("into").fill("France")
    explorer.get_by_label("into").blur()
    explorer.get_by_role("button", name="Edit and compare").click()
    notebook.until("len(a.shown)", "2")
    heading = explorer.get_by_role("heading", name="With “Austria” changed to “France”")
    expect(heading).to_be_visible()
    line = explorer.locator(".ecco-agreement-line")
    explorer.locator(".ecco-output").first.locator("[role=option]").nth(3).hover()
    notebook.until("a.selected", "3")
    change = "(a.shown[1].generation.logprobs[3], a.shown[0].generation.logprobs[3])"
    new, old = ast.literal_eval(notebook.ask(f"tuple(map(float, {change}))"))
    expect(line).to_contain_text(f"{format_number(old)} → {format_number(new)}")
    explorer.get_by_role("button", name="End comparison").click()
    expect(explorer.locator(".ecco-output")).to_have_count(1)
    expect(line).to_have_count(0)


def test_a_view_is_copied_as_html(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    explorer = at("saliency")
    explorer.get_by_role("button", name="Share").click()
    expect(explorer.locator(".ecco-copy")).to_contain_text("kB of HTML")
    copied = notebook.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("<section class=")
    assert "Where did each token come from?" in copied
    assert "https://" not in copied


def test_long_work_is_cancelled(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("saliency")
    before = notebook.ask("[one.method for one in a.shown]")
    choose(explorer, "Method", "occlusion")
    cancel = explorer.get_by_role("button", name="Cancel")
    expect(cancel).to_be_visible()
    cancel.click()
    expect(explorer.get_by_text("occlusion: cancelled")).to_be_visible()
    assert notebook.ask("[one.method for one in a.shown]") == before
    hooks = "sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm.model.modules())"
    assert notebook.ask(hooks) == "0"
    choose(explorer, "Method", "gradient × input")
    notebook.until("[one.method for one in a.shown]", "['input_x_gradient']")


def test_a_faithfulness_sentence_stands_below(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("saliency")
    explorer.get_by_role("button", name="Does it hold?").click()
    expect(explorer.locator(".ecco-holds-card, .ecco-card").last).to_be_visible()
    expect(explorer.get_by_role("heading", name="Does it hold?")).to_be_visible(timeout=180_000)


def test_a_cell_of_rankings_opens_its_column_and_its_layer(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("rankings")
    cell = explorer.locator(".ecco-heat tbody tr").nth(28).locator("td").nth(3)
    cell.hover()
    notebook.until("r.hovered", "[28, 3]")
    cell.click()
    notebook.until("r.selected", "[28, 3]")
    expect(cell).to_have_class(re.compile("ecco-chosen"))
    near(explorer, cell)
    index = explorer.locator(".ecco-index")
    positions = ast.literal_eval(notebook.ask("r.rankings.positions.tolist()"))
    expect(index).to_have_text([str(position) for position in positions])
    notebook.until("len(r.bars.bars.x)", "10")
    expect(explorer.get_by_text("Top tokens of block 27, in the place of")).to_be_visible()
    names = ast.literal_eval(notebook.ask("list(map(str, r.bars.bars.x))"))
    axis = explorer.locator(".bqplot").last.locator(".axis text")
    until(notebook.page, lambda: set(axis.all_text_contents()) >= set(names))
    choose(explorer, "Chart", "logit")
    expect(explorer.locator(".ecco-keys").first).to_contain_text("logit")
    cell.press("ArrowLeft")
    notebook.until("r.hovered", "[28, 2]")
    explorer.locator(".ecco-heat tbody tr").nth(28).locator("td").nth(2).press("Enter")
    notebook.until("r.selected", "[28, 2]")


def test_watched_tokens_are_lines(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("watch")
    expect(explorer.locator(".ecco-key")).to_have_text(["“is”", "“are”"])
    expect(explorer.locator(".bqplot .dot_grp, .bqplot .object_grp").first).to_be_attached()
    explorer.locator(".ecco-heat tbody tr").nth(3).locator("td").nth(1).click()
    notebook.until("w.selected", "[3, 1]")
    choose(explorer, "Chart", "probability")
    notebook.until("w.value.value", "'probability'")


def test_factors_are_taken_refitted_and_ablated(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("factors")
    explorer.locator(".ecco-factor[role=option]").nth(2).hover()
    notebook.until("f.selected", "2")
    expect(explorer.get_by_text("Strongest neurons of factor 2")).to_be_visible()
    chips = explorer.locator(".ecco-factors-together button")
    chips.nth(0).click()
    chips.nth(3).click()
    expect(explorer.locator(".ecco-underlined")).to_have_count(1)
    expect(explorer.locator(".ecco-factors-together [aria-pressed=true]")).to_have_text(["0", "3"])
    notebook.ask("setattr(f.components, 'value', 3)")
    notebook.until("f.factors.count", "3")
    expect(explorer.locator(".ecco-factor[role=option]")).to_have_count(3)
    explorer.get_by_role("button", name="Ablate this factor").click()
    notebook.until("'strongest neurons' in f.verdict.value or f.runner.message.value[:40]", "True")
    expect(explorer.locator(".ecco-message b").last).to_be_visible()


def test_similarity_draws_the_row_of_a_cell(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("similarity")
    explorer.locator(".ecco-heat tbody tr").nth(4).locator("td").nth(9).click()
    notebook.until("s.selected", "[4, 9]")
    near(explorer, explorer.locator(".ecco-heat tbody tr").nth(4).locator("td").nth(9))
    expect(explorer.locator(".ecco-key").first).to_have_text("block 3 with each layer")
    expect(explorer.locator(".ecco-key")).to_have_count(2)
    explorer.get_by_label("by chance").last.uncheck()
    expect(explorer.locator(".ecco-key")).to_have_count(1)
    choose(explorer, "Measure", "SVCCA")
    notebook.until("s.similarity.measure", "'svcca'", 120)
    expect(explorer.get_by_text("SVCCA over").first).to_be_visible()
    notebook.until("s.selected", "[4, 9]")


def test_a_point_of_probes_opens_its_confusions(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("probes")
    points = explorer.locator(".bqplot .dot_grp .element, .bqplot .object_grp .element")
    expect(points.first).to_be_attached()
    row = int(notebook.ask("p.selected"))
    points.nth(1 if row == 0 else 0).click()
    notebook.until("p.selected", "1" if row == 0 else "0")
    expect(
        explorer.get_by_role("heading", name="Confusion matrix of neurons, block")
    ).to_be_visible()


def test_the_studio_writes_and_shows(notebook: Notebook, at: Any) -> None:
    from playwright.sync_api import expect

    explorer = at("studio")
    prompt = explorer.locator("textarea")
    generate = explorer.get_by_role("button", name="Generate")
    expect(explorer.get_by_role("button", name="Save report")).to_be_disabled()
    expect(explorer.get_by_label("Seed")).to_be_disabled()
    prompt.fill("")
    prompt.blur()
    expect(explorer.get_by_text("Write a prompt first")).to_be_visible()
    expect(generate).to_be_disabled()
    prompt.fill("The capital of France is")
    prompt.blur()
    expect(explorer.get_by_text("Write a prompt first")).to_be_hidden()
    generate.click()
    expect(explorer.locator("[role=option]").first).to_be_visible()
    expect(explorer.locator(".ecco-written:visible")).to_have_count(0)  # the strip has it
    explorer.locator(".lm-TabBar-tab", has_text="Runner-up tokens").click()
    expect(explorer.locator(".ecco-key").first).to_be_visible()
    written = ast.literal_eval(notebook.ask("t.generation.text"))
    expect(explorer.locator(".ecco-written:visible b")).to_have_text(written.strip())
    # Its own probes take a minute; those of another cell are drawn as well.
    notebook.ask("t.analyses.tabs.update(Probes=lambda generation, progress: p.report.explore())")
    explorer.locator(".lm-TabBar-tab", has_text="Probes").click()
    expect(explorer.get_by_text("What does each layer know?")).to_be_visible()
    expect(explorer.locator(".bqplot:visible").first).to_be_visible()
    report = "lambda generation, path, progress: path"
    notebook.ask(f"object.__setattr__(t.analyses, 'report', {report})")
    explorer.get_by_role("button", name="Save report").click()
    expect(explorer.get_by_text("Saved as report.html")).to_be_visible()
    prompt.fill("The capital of Spain is")
    prompt.blur()
    expect(explorer.get_by_text("Still shown: the text of the prompt")).to_be_visible()
    explorer.get_by_role("button", name="Back to it").click()
    expect(prompt).to_have_value("The capital of France is")


def test_light_and_dark(notebook: Notebook, at: Any) -> None:
    explorer = at("watch")
    ink = "(node) => getComputedStyle(node).color"
    seen = []
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        notebook.theme(theme)
        seen.append(explorer.locator(".ecco-key").first.evaluate(ink))
    assert seen == ["rgb(236, 234, 242)", "rgb(28, 27, 34)"]
