"""A command for every analysis, and what each does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ecco_captum
from ecco_captum import cli
from ecco_captum.cli.commands import COMMANDS

# What public functions are called as commands; those of another name, and those that are none.
CALLED = {
    "load_record": "show",
    "force_decode": "generate",
    "capture_price": "capture",  # --price
    "map_texts": "map",
    "plan": "capture",  # --price
    "offline_models": "models",
    "rankings_watch": "watch",
    **dict.fromkeys(("cca", "svcca", "pwcca", "cka"), "similarity"),
    "ablate": "factors",  # --effect
}
NO_COMMAND = {"load", "wrap", "read_conllu"}  # they make no result


def test_every_public_function_has_a_command() -> None:
    names = {command.__name__ for command in COMMANDS}
    for name in ecco_captum.__all__:
        value = getattr(ecco_captum, name)
        if callable(value) and not isinstance(value, type) and name not in NO_COMMAND:
            assert CALLED.get(name, name) in names, name


def test_layers_from_the_end_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("rankings", "factors"):
        assert cli.main([command, "--help"]) == 0
        page = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert "-3 is the third from the end, '-3:' the last three" in page


def test_a_layer_from_the_end(model: str) -> None:
    words = ["rankings", "--model", model, "--prompt", "The keys", "--max-new-tokens", "1"]
    assert cli.main([*words, "--layers=-3", "-o", "a.npz"]) == 0
    assert ecco_captum.Rankings.load("a.npz").layers.tolist() == [1]
    assert cli.main([*words, "--layers", "-3:", "-o", "a.npz"]) == 0
    assert ecco_captum.Rankings.load("a.npz").layers.tolist() == [1, 2, 3]


@pytest.mark.parametrize(("command", "layers"), [("neurons", 3), ("hidden-states", 4)])
def test_activations_in_files(
    command: str, layers: int, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, "--model", model, "--text", "The keys", "--text", "A dog"]
    assert cli.main(words) == 0
    acts = ecco_captum.Activations.load(f"ecco-captum-{command}.npz")
    read = getattr(ecco_captum, command.replace("-", "_"))
    expected = read(ecco_captum.load(model), ["The keys", "A dog"])
    np.testing.assert_array_equal(acts.values, expected.values)
    assert acts.shape[0] == layers
    assert "MEAN MAGNITUDE" in capsys.readouterr().out
    assert cli.main([*words, "-o", "a.html"]) == 1
    assert "there is no page of Activations; accepts a name with .npz" in capsys.readouterr().err


def test_activations_in_a_store(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("zarr")
    Path("texts.jsonl").write_text('{"text": "The keys"}\n{"text": "A dog"}\n')
    words = ["neurons", "--model", model, "--text-file", "texts.jsonl", "--store", "a.zarr"]
    assert cli.main([*words, "--layers", "0:2"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["a.zarr", "texts.jsonl"]
    assert ecco_captum.Activations.open("a.zarr").shape[0] == 2
    assert "On disk: " in capsys.readouterr().out
    assert cli.main(["show", "a.zarr"]) == 0
    assert "2 layers" in capsys.readouterr().out
    assert cli.main(["compare", "a.zarr", "--draws", "2", "-o", "s.npz"]) == 0
    assert ecco_captum.Similarity.load("s.npz").values.shape == (2, 2)


def test_generations_and_scores(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "--model", model, "--prompt", "The keys", "-o", "a.npz"]
    assert cli.main([*words, "--continuation", " are here"]) == 0
    record = ecco_captum.Generation.load("a.npz")
    assert record.text == " are here"
    assert str(record) in capsys.readouterr().out


def test_faithfulness_is_that_of_the_package(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "The keys to the cabinet are on the table"
    words = ["faithfulness", "--model", model, "--prompt", prompt, "--max-new-tokens", "2"]
    assert cli.main([*words, "-o", "a.npz", "--removal", "mean", "--method", "saliency"]) == 0
    record = ecco_captum.Faithfulness.load("a.npz")
    assert len(record.removals) == 1
    assert record.attribution.method == "saliency"
    lm = ecco_captum.load(model)
    written = ecco_captum.generate(lm, prompt, max_new_tokens=2)
    attribution = ecco_captum.saliency(lm, written, method="saliency")
    expected = ecco_captum.faithfulness(lm, attribution, removal=["mean"])
    assert record.lds == pytest.approx(expected.lds)
    assert record.sentence in capsys.readouterr().out


def test_predictions_of_layers(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["layer-predictions", "--model", model, "--prompt", "The keys", "-k", "3"]
    assert cli.main([*words, "--max-new-tokens", "2", "-o", "a.npz"]) == 0
    record = ecco_captum.LayerPredictions.load("a.npz")
    assert record.token_ids.shape[1] == 3
    assert record.position == record.generation.tokens.prompt_length
    assert cli.main([*words, "--max-new-tokens", "2", "-o", "a.npz", "--position", "1"]) == 0
    assert ecco_captum.LayerPredictions.load("a.npz").position == 1


def test_minimal_pairs(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    lm = ecco_captum.load(model)
    a, b = (lm.tokenizer.decode([token]) for token in lm.tokenizer("the is")["input_ids"][:2])
    words = ["minimal-pairs", "--model", model, "-o", "a.npz"]
    texts = ["--text", "The keys___", "--text", "A dog___"]
    assert cli.main([*words, *texts, a, b]) == 0
    record = ecco_captum.MinimalPairs.load("a.npz")
    rows = [{"text": "The keys___", "fillers": [a, b]}, {"text": "A dog___", "fillers": [a, b]}]
    Path("p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert cli.main([*words, "--text-file", "p.jsonl"]) == 0
    again = ecco_captum.MinimalPairs.load("a.npz")
    np.testing.assert_array_equal(record.logprobs, again.logprobs)
    capsys.readouterr()
    for wrong, line in (([], "FITS OTHER: got none"), (["a"], "got 1 words, accepts two")):
        assert cli.main([*words, *texts, *wrong]) == 1
        assert line in capsys.readouterr().err


def test_the_order_of_a_text(model: str) -> None:
    words = ["order-test", "--model", model, "--prompt", "The keys to the cabinet"]
    assert cli.main([*words, "--draws", "5", "-o", "a.npz"]) == 0
    assert len(ecco_captum.OrderTest.load("a.npz").shuffled) == 5


def test_two_attributions(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["saliency", "--model", model, "--prompt", "The keys to", "--max-new-tokens", "2"]
    assert cli.main([*words, "-o", "a.npz"]) == 0
    assert cli.main([*words, "-o", "b.npz", "--method", "saliency"]) == 0
    assert cli.main(["compare", "a.npz", "b.npz", "-o", "c.npz", "-o", "c.html"]) == 0
    comparison = ecco_captum.Comparison.load("c.npz")
    assert comparison.labels == ("gradient × input", "gradient")
    assert str(comparison) in capsys.readouterr().out
    assert cli.main(["compare", "a.npz"]) == 1
    assert "got Attribution, accepts two of Attribution" in capsys.readouterr().err
    assert cli.main(["compare", "a.npz", "c.npz"]) == 1
    assert "got Attribution and Comparison" in capsys.readouterr().err


def test_saved_activations_are_compared(model: str) -> None:
    text = "The keys to the cabinet are on the table."
    words = ["--model", model, "--text", text]
    assert cli.main(["neurons", *words, "-o", "n.npz"]) == 0
    assert cli.main(["hidden-states", *words, "-o", "h.npz"]) == 0
    assert cli.main(["compare", "h.npz", "n.npz", "--draws", "3", "-o", "s.npz"]) == 0
    record = ecco_captum.Similarity.load("s.npz")
    assert record.values.shape == (4, 3)
    assert record.measure == "cka"


@pytest.mark.parametrize("name", ["attribution", "probes", "report", "canonical"])
def test_any_record_is_shown(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parents[1] / "saved_records" / f"{name}.npz"
    assert cli.main(["show", str(path)]) == 0
    assert capsys.readouterr().out == f"{ecco_captum.load_record(path)}\n"
    assert not list(folder.iterdir())
    assert cli.main(["show", str(path), "-o", "a.csv"]) == 0
    assert len(Path("a.csv").read_text("utf-8").splitlines()) > 1


def test_what_is_no_record_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.npz").write_text("a")
    for path, line in (("a.npz", "holds no record"), ("none.npz", "there is no file")):
        assert cli.main(["show", path]) == 1
        assert line in capsys.readouterr().err


QUICK = """
import sys
from ecco_captum import cli
code = cli.main({words!r})
print(code, {{'torch', 'transformers'}} & {{*sys.modules}}, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--method", "atn_lrp"], "did you mean 'attn_lrp'?"),
        (["--model", "minilm-l6", "--method", "rolout"], "did you mean 'attention_rollout'?"),
        (["--model", "some/model"], "the model hub http://127.0.0.1:9 cannot be reached"),
        (["-o", "a.gif"], "got 'a.gif'"),
    ],
)
@pytest.mark.parametrize("command", ["saliency", "faithfulness", "compare-methods"])
def test_what_is_wrong_is_said_before_torch_is_loaded(
    command: str, words: list[str], line: str
) -> None:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", QUICK.format(words=[command, "--prompt", "a", *words])],
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
    )
    said, code = done.stderr.strip().splitlines()
    assert code == "1 set()"
    assert said.startswith("ecco-captum: error: ")
    assert line in said
    assert "'lrp'" not in said
    assert time.perf_counter() - start < 10  # about a second where nothing else runs


def test_a_model_without_attention_is_not_offered_any(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mamba").mkdir()
    Path("mamba/config.json").write_text('{"model_type": "mamba"}')
    words = ["saliency", "--prompt", "a", "--model", "mamba", "--method", "rolout"]
    assert cli.main(words) == 1
    said = capsys.readouterr().err
    assert "attention" not in said
    assert "'attn_lrp'" in said


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("ecco-captum saliency --method attn", {"attn_lrp"}),
        ("ecco-captum saliency --method attention", {"attention", "attention_rollout"}),
        ("ecco-captum saliency --score log", {"logit", "logprob"}),
        ("ecco-captum neurons --model smol", {"smollm2-135m"}),
        ("ecco-captum min", {"minimal-pairs"}),
        ("ecco-captum saliency --prompts", {"--prompts-file"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_options_and_values(
    shell: str, typed: str, completions: set[str]
) -> None:
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    asked |= {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-c", "from ecco_captum import cli; cli.main()"],
        env={**os.environ, **asked, "_ECCO_CAPTUM_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
    )
    for word in completions:
        assert word in done.stdout
    assert "input_x_gradient" not in done.stdout
    if shell == "bash":
        assert set(done.stdout.split()) == completions


def test_every_command_has_defaults_for_model_and_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in COMMANDS:
        assert cli.main([command.__name__.replace("_", "-"), "-h"]) == 0
        page = capsys.readouterr().out
        assert "None" not in page
        if "--model" in page:
            assert "[default: smollm2-135m]" in page
        assert "required" not in page or command.__name__ in (
            *("compare", "show", "probe", "nmf", "map"),
        )
