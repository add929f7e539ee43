"""Many prompts in one run."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ecco_captum
from ecco_captum import cli
from ecco_captum.models.language_model import LanguageModel

LONG = "The keys to the cabinet are on the table and "
PROMPTS = [LONG, {"prompt": LONG + "so", "id": "second"}, "", {"prompt": LONG * 90, "id": "long"}]


@pytest.fixture
def prompts(folder: Path) -> str:
    Path("prompts.jsonl").write_text("\n".join(map(json.dumps, PROMPTS)), encoding="utf-8")
    return "prompts.jsonl"


@pytest.fixture
def wordy(tiny_lm: Callable[..., LanguageModel], tmp_path: Path) -> str:
    """A tiny model that has " is" and " are" as tokens."""
    lm = tiny_lm("gpt2")
    tokenizer = copy.deepcopy(lm.tokenizer)  # other tests have the same one
    tokenizer.add_tokens([" is", " are", " the"])
    lm.model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    lm.model.save_pretrained(tmp_path / "wordy")
    tokenizer.save_pretrained(tmp_path / "wordy")
    return str(tmp_path / "wordy")


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("command", ["saliency", "rankings", "faithfulness", "generate"])
def test_a_row_for_each_prompt(
    command: str, model: str, prompts: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, "--model", model, "--prompts-file", prompts, "--max-new-tokens", "2"]
    assert cli.main(words) == 3
    table = rows(f"ecco-captum-{command}.csv")
    assert [row["id"] for row in table] == ["1", "second", "long"]
    assert [bool(row["error"]) for row in table] == [False, False, True]
    assert "the context of 'model' holds 64" in table[2]["error"]
    assert table[0]["outputs"] == "2"
    assert table[2]["outputs"] == ""
    out = capsys.readouterr().out
    assert "3 prompts, 1 failed" in out
    assert "failed: " in out


OF_PROMPTS = {"watch": [" is", " are"], "order-test": ["--draws", "5", " is", " are"]}


@pytest.mark.parametrize("command", OF_PROMPTS)
def test_a_row_for_each_prompt_that_is_read_as_it_is(
    command: str, wordy: str, prompts: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, "--model", wordy, "--prompts-file", prompts, *OF_PROMPTS[command]]
    assert cli.main([*words, "-o", "rows.csv"]) == 3
    table = rows("rows.csv")
    assert "output" not in table[0], "nothing was written"
    assert [bool(row["error"]) for row in table] == [False, False, True]
    assert {table[0]["winner"], table[1]["winner"]} <= {" is", " are"}
    assert float(table[0]["lead"]) >= 0
    assert f"{LONG}so" in capsys.readouterr().out, "the prompt stands where an output would"


def test_rows_of_watched_tokens_are_what_single_runs_give(
    wordy: str, prompts: str, folder: Path
) -> None:
    words = ["watch", "--model", wordy, " is", " are", " the"]
    assert cli.main([*words, "--prompts-file", prompts, "-o", "rows.json"]) == 3
    assert cli.main([*words, "--prompt", LONG, "-o", "one.npz"]) == 0
    row = json.loads(Path("rows.json").read_text())[0]
    alone = ecco_captum.WatchedRankings.load("one.npz")
    last = dict(zip(alone.watch_texts, alone.logits[-1].tolist(), strict=True))
    assert row["winner"] == max(last, key=lambda token: last[token])
    first, second = sorted(last.values())[:-3:-1]
    assert row["lead"] == pytest.approx(first - second)
    assert row["rank"] == alone.ranks[-1].min()
    assert row["ahead_from_layer"] == int(alone.crossings)
    np.testing.assert_array_equal(row["result"]["ranks"], alone.ranks)


def test_of_one_watched_token_there_is_no_lead(wordy: str, prompts: str, folder: Path) -> None:
    words = ["watch", "--model", wordy, " is", "--prompts-file", prompts, "-o", "rows.csv"]
    assert cli.main(words) == 3
    table = rows("rows.csv")
    assert (table[0]["winner"], table[0]["lead"]) == (" is", "")
    assert table[0]["ahead_from_layer"] == ""


def test_rows_of_layer_predictions_are_what_single_runs_give(
    model: str, prompts: str, folder: Path
) -> None:
    words = ["layer-predictions", "--model", model, "--max-new-tokens", "2"]
    assert cli.main([*words, "--prompts-file", prompts, "-o", "rows.csv"]) == 3
    assert cli.main([*words, "--prompt", LONG, "-o", "one.npz"]) == 0
    row, alone = rows("rows.csv")[0], ecco_captum.LayerPredictions.load("one.npz")
    assert row["token"] == row["top_token"] == alone.texts[-1][0], "a greedy token is the first"
    assert int(row["rank"]) == alone.ranks[-1] == 1
    assert int(row["best_rank"]) == alone.ranks.min()
    assert float(row["top_prob"]) == pytest.approx(alone.probs[-1, 0])


def test_rows_of_compared_methods_are_what_single_runs_give(
    model: str, prompts: str, folder: Path
) -> None:
    words = ["compare-methods", "--model", model, "--max-new-tokens", "2", "--orders", "19"]
    words += ["--method", "saliency", "--method", "input_x_gradient"]
    assert cli.main([*words, "--prompts-file", prompts, "-o", "rows.csv"]) == 3
    assert cli.main([*words, "--prompt", LONG, "-o", "one.npz"]) == 0
    row, alone = rows("rows.csv")[0], ecco_captum.MethodComparison.load("one.npz")
    assert row["candidate"] == alone.methods[alone.candidate]
    assert float(row["lds"]) == pytest.approx(alone.intervals[alone.candidate, 0])
    chance, position = alone.candidate_p_values.max(axis=0)
    assert float(row["p_chance"]) == pytest.approx(chance)
    assert float(row["p_position"]) == pytest.approx(position)
    assert (row["best"], row["verdict"]) == (alone.best or "", alone.verdict)
    assert row["outputs"] == "2"


@pytest.mark.parametrize("command", OF_PROMPTS)
def test_a_continuation_of_what_is_read_as_it_is_is_refused(
    command: str, wordy: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("p.jsonl").write_text('{"prompt": "The keys", "continuation": " are"}\n')
    words = [command, "--model", wordy, "--prompts-file", "p.jsonl", *OF_PROMPTS[command]]
    assert cli.main(words) == 1
    assert "'p.jsonl', row 1: it has a continuation, accepts none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["neurons", "--text", "a"], "neurons has no --prompts-file: it reads many texts"),
        (["hidden-states", "--text", "a"], "it reads many texts at a time, by --text-file"),
        (["similarity", "--text", "a"], "it reads many texts at a time, by --text-file"),
        (["minimal-pairs", "--text", "a"], "it reads many texts at a time, by --text-file"),
        (["report"], "report has no --prompts-file: it reads one prompt"),
        (["factors"], "a row for each prompt comes from generate, saliency"),
        (["demo"], "demo has no --prompts-file: it reads no prompt"),
        (["models"], "it reads no prompt"),
        (["show", "a.npz"], "it reads no prompt"),
        (["compare", "a.npz"], "it reads no prompt"),
        (["probe", "--conllu", "a.conllu"], "it reads no prompt"),
    ],
)
def test_commands_without_rows_say_what_they_read(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--prompts-file", "p.jsonl"]) == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert line in said


def test_the_help_says_of_every_command_which_texts_it_reads(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    rows = "generate, saliency, faithfulness, compare-methods, rankings, watch, layer-predictions"
    assert f"A row for each prompt of --prompts-file: {rows}, order-test." in said
    many = "minimal-pairs, neurons, hidden-states, similarity"
    assert f"Many texts in one result, by --text-file: {many}." in said
    assert "One prompt: report, factors." in said


def test_rows_are_what_single_runs_give(model: str, prompts: str, folder: Path) -> None:
    common = ["--model", model, "--max-new-tokens", "2"]
    assert cli.main(["faithfulness", *common, "--prompts-file", prompts, "-o", "a.json"]) == 3
    assert cli.main(["faithfulness", *common, "--prompt", LONG, "-o", "b.npz"]) == 0
    row = json.loads(Path("a.json").read_text())[0]
    alone = ecco_captum.Faithfulness.load("b.npz")
    assert row["lds"] == pytest.approx(alone.lds)
    assert row["verdict"] == alone.verdict == row["result"]["verdict"]
    assert row["prompt"] == LONG
    held = np.array(row["result"]["comprehensiveness"])
    np.testing.assert_array_equal(held, alone.comprehensiveness)


def test_json_of_many_is_a_list(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("p.txt").write_text("The keys\n\n are here\n")
    words = ["saliency", "--model", model, "--prompts-file", "p.txt", "--json"]
    assert cli.main([*words, "--max-new-tokens", "1"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["prompt"]) for row in read] == [(1, "The keys"), (3, " are here")]
    assert read[0]["result"]["record"] == "Attribution"
    assert [path.name for path in folder.iterdir()] == ["p.txt"]


def test_a_row_may_bring_its_continuation(model: str, folder: Path) -> None:
    Path("p.jsonl").write_text('{"prompt": "The keys", "continuation": " are"}\n"A dog"\n')
    words = ["generate", "--model", model, "--prompts-file", "p.jsonl", "--max-new-tokens", "3"]
    assert cli.main([*words, "-o", "a.csv"]) == 0
    table = rows("a.csv")
    assert table[0]["output"] == " are"
    assert table[1]["outputs"] == "3"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "is empty"),
        ("{", "line 1 is no JSON"),
        ('"a"\n{"text": "b"}', 'row 2: got {"text": "b"}, accepts a text, or an object'),
        ('{"prompt": 3}', "row 1: got"),
        ('{"prompt": "a", "continuation": 3}', "its continuation is 3, no text"),
    ],
)
def test_a_file_of_no_prompts_is_refused_before_the_model_is_loaded(
    text: str,
    line: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ecco_captum.load", lambda *given, **options: pytest.fail("loaded"))
    Path("p.jsonl").write_text(text)
    assert cli.main(["saliency", "--prompts-file", "p.jsonl"]) == 1
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["-o", "a.html"],
            "no page of PromptTable; accepts a name with .csv, .json, .parquet",
        ),
        (["--faithfulness"], "not with --prompts-file"),
        (["--open"], "--open: no page is written"),
    ],
)
def test_what_many_prompts_have_not(
    words: list[str], line: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["saliency", "--prompts-file", prompts, *words]) == 1
    assert line in capsys.readouterr().err


def test_parquet(model: str, prompts: str, folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    words = ["generate", "--model", model, "--prompts-file", prompts, "-o", "a.parquet"]
    assert cli.main([*words, "--max-new-tokens", "2"]) == 3
    assert parquet.read_table("a.parquet")["id"].to_pylist() == ["1", "second", "long"]
