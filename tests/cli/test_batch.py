"""Many prompts in one run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import ecco_captum
from ecco_captum import cli

LONG = "The keys to the cabinet are on the table and "
PROMPTS = [LONG, {"prompt": LONG + "so", "id": "second"}, "", {"prompt": LONG * 90, "id": "long"}]


@pytest.fixture
def prompts(folder: Path) -> str:
    Path("prompts.jsonl").write_text("\n".join(map(json.dumps, PROMPTS)), encoding="utf-8")
    return "prompts.jsonl"


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
