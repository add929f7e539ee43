"""The command: reports, exit codes, and errors in one line."""

from __future__ import annotations

import html
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_treebank import TEXT, written

import ecco_captum
from ecco_captum import cli
from ecco_captum.cli.output import shown
from ecco_captum.models.language_model import LanguageModel


@pytest.fixture
def model(tiny_lm: Callable[..., LanguageModel], tmp_path: Path) -> str:
    lm = tiny_lm("gpt2")
    lm.model.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_saliency_writes_the_report_and_the_record(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, record = tmp_path / "r.html", tmp_path / "r.npz"
    words = ["saliency", "--model", model, "--prompt", "The keys\n", "-o", str(report)]
    assert cli.main([*words, "--max-new-tokens", "3", "--save", str(record)]) == 0
    out = capsys.readouterr().out
    assert f"Report: {report}" in out
    attribution = ecco_captum.load_record(record)
    assert isinstance(attribution, ecco_captum.Attribution)
    assert len(attribution.scores) == 3
    assert report.read_text(encoding="utf-8") == attribution.to_html()
    # The strongest source and its share stand in the summary.
    strongest = attribution.shares[0].max()
    assert f"{strongest:.1%}" in out


def test_a_report_of_every_analysis(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, record = tmp_path / "r.html", tmp_path / "r.npz"
    words = ["report", "--model", model, "--prompt", "The keys to the", "-o", str(page)]
    words += ["--max-new-tokens", "6", "--components", "2", "--save", str(record)]
    assert cli.main(words) == 0
    found, out = ecco_captum.Report.load(record), capsys.readouterr().out
    assert page.read_text(encoding="utf-8") == found.to_html()
    for one in found.findings:
        assert f"{one.question}  [{one.verdict}]" in out
        assert one.answer.split()[-1] in out
    assert cli.main([*words, "--label", "pos"]) == 1
    assert "label: got 'pos'" in capsys.readouterr().err
    assert cli.main([*words, "--method", "none such"]) == 1


def test_prompts_from_files_and_standard_input(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompt.txt").write_text("The keys 🙂", encoding="utf-8")
    common = ["saliency", "--model", model, "--max-new-tokens", "2", "--seed", "3"]
    texts = []
    for given in (["--prompt-file", str(tmp_path / "prompt.txt")], ["--prompt", "-"]):
        monkeypatch.setattr("sys.stdin.read", lambda: "The keys 🙂", raising=False)
        save = ["--save", str(tmp_path / "a.npz"), "-o", str(tmp_path / "a.html")]
        assert cli.main([*common, *given, *save]) == 0
        generation = ecco_captum.Attribution.load(tmp_path / "a.npz").generation
        assert generation.prompt == "The keys 🙂"
        texts.append(generation.text)
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--prompt", ""], "prompt: got an empty string"),
        (["--prompt", "a", "--method", "magic"], "method: got 'magic'"),
        (["--prompt", "a", "--max-new-tokens", "0"], "max_new_tokens: got 0"),
        (["--prompt", "a", "-o", "/no/such/folder/r.html"], "no folder '/no/such/folder'"),
        (["--prompt", "a", "--save", "/no/such/folder/r.npz"], "--save: there is no folder"),
        (["--prompt", "a", "-o", "/tmp"], "--output: '/tmp' is a folder"),
        (["--prompt", "a", "-o", "x.html", "--save", "x.html"], "name another file"),
        (["--prompt-file", "/no/such/file"], "No such file"),
    ],
)
def test_errors_take_one_line_and_leave_no_file(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    report = tmp_path / "r.html"
    assert cli.main(["saliency", "--model", model, "-o", str(report), *words]) == 1
    captured = capsys.readouterr()
    message = captured.err.strip().splitlines()[-1]
    assert message.startswith("ecco-captum: error: ")
    assert line in message
    assert captured.out == ""
    assert not report.exists()


def test_a_traceback_is_there_for_the_asking(tmp_path: Path) -> None:
    words = ["saliency", "--model", "x", "--prompt", "a", "-o", str(tmp_path / "r.html")]
    with pytest.raises(ValueError, match="method"):
        cli.main([*words, "--method", "magic", "--traceback"])


def test_an_interruption_has_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ecco_captum.models.bundled.offline_models", interrupted)
    assert cli.main(["models"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    assert "smollm2-135m" in out
    assert "Apache-2.0" in out


@pytest.mark.parametrize("words", [["--help"], ["saliency", "--help"], ["--version"]])
def test_help_is_there_without_loading_torch(words: list[str]) -> None:
    code = (
        f"import sys; from ecco_captum import cli\ntry: cli.main({words!r})\n"
        "except SystemExit as e: print(e.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip().endswith("0 False")


def test_wrong_usage_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["saliency", "--model", "x"])
    assert caught.value.code == 2
    assert "--prompt" in capsys.readouterr().err


def test_tokens_cannot_act_on_the_terminal() -> None:
    assert shown("\x1b[31m") == "\\x1b[31m"
    assert shown(" Paris") == "Paris"
    assert shown("\n") == "↵"
    assert shown("  ") == "␣␣"


def test_watch_tells_ranks_and_writes_what_was_asked_for(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, record, figure = (tmp_path / name for name in ("w.html", "w.npz", "w.pdf"))
    words = ["watch", "--model", model, "--prompt", "The keys", " the", "--id", "7"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    lm = ecco_captum.load(model)
    expected = ecco_captum.rankings_watch(lm, "The keys", [" the", 7])
    lines = [line.split() for line in out.splitlines()]
    assert ["block", "1", *map(str, expected.ranks[2])] in [line[:4] for line in lines]
    assert expected.sentence in out
    assert not list(tmp_path.glob("w.*"))
    files = ["-o", str(report), "--save", str(record), "--plot", str(figure)]
    assert cli.main([*words, *files, "--layers", "1:", "--position", "0"]) == 0
    found = ecco_captum.WatchedRankings.load(record)
    assert (found.layers.tolist(), found.positions.tolist()) == ([1, 2, 3], [0])
    assert report.read_text(encoding="utf-8") == found.to_html()
    assert figure.read_bytes().startswith(b"%PDF")


def test_rankings_tells_when_tokens_were_decided(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, record = tmp_path / "r.html", tmp_path / "r.npz"
    words = ["rankings", "--model", model, "--prompt", "The keys", "--max-new-tokens", "3"]
    assert cli.main([*words, "-o", str(report), "--save", str(record), "--value", "prob"]) == 0
    out = capsys.readouterr().out
    found = ecco_captum.Rankings.load(record)
    assert found.value == "prob"
    assert found.ranks.shape == (4, 3)
    assert found.sentence in out
    assert out.count("block 2") >= 1
    assert report.read_text(encoding="utf-8") == found.to_html()
    assert cli.main([*words, "--save", str(record), "--no-control", "--positions", "all"]) == 0
    again = ecco_captum.Rankings.load(record)
    assert again.shuffled_ranks is None
    assert again.ranks.shape[1] > 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["watch", "--prompt", "x"], "WORD: got none, accepts at least one token to watch"),
        (["watch", "--prompt", "x", "a", "--plot", "a.gif"], "--plot: got 'a.gif', accepts a name"),
        (["watch", "--prompt", "x", "a", "--plot", "no/a.pdf"], "--plot: there is no folder"),
        (["rankings", "--prompt", "x", "-o", "a.svg", "--plot", "a.svg"], "is where --output goes"),
    ],
)
def test_what_the_lens_commands_refuse(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 1
    assert line in capsys.readouterr().err


def test_factors_tell_their_top_tokens(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, report, record = "The keys to the cabinet are", tmp_path / "f.html", tmp_path / "f.npz"
    words = ["factors", "--model", model, "--prompt", text, "--components", "2", "--effect", "1"]
    files = ["-o", str(report), "--save", str(record), "--plot", str(tmp_path / "f.svg")]
    assert cli.main([*words, *files, "--stability", "1", "--layers", "1:"]) == 0
    out = capsys.readouterr().out
    found = ecco_captum.Factors.load(record)
    assert found.count == 2
    assert found.activations.layers.tolist() == [1, 2]
    assert found.sentence in out
    assert "Without its 50 strongest neurons" in out
    assert "without each factor's 50 strongest neurons" in html.unescape(report.read_text("utf-8"))
    assert (tmp_path / "f.svg").read_text(encoding="utf-8").count("<text") > 3


def test_similarity_compares_the_texts_of_a_file(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, record = tmp_path / "lines.txt", tmp_path / "s.npz"
    texts.write_text("\n".join(["The keys to the cabinet are here.", "", " A dog 🙂"] * 12))
    words = ["similarity", "--model", model, "--text-file", str(texts), "--save", str(record)]
    words += ["--representations", "both", "--permutations", "4", "-o", str(tmp_path / "s.html")]
    assert cli.main([*words, "--bootstrap", "5", "--plot", str(tmp_path / "s.svg")]) == 0
    found = ecco_captum.Similarity.load(record)
    lm = ecco_captum.load(model)
    lines = ["The keys to the cabinet are here.", "A dog 🙂"] * 12
    read = [ecco_captum.hidden_states(lm, lines), ecco_captum.neurons(lm, lines)]
    expected = ecco_captum.compare(read, measure="cka", n_permutations=4, bootstrap=5)
    for field in ("values", "null_mean", "null_95", "interval"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    out = capsys.readouterr().out
    assert expected.sentence in out
    assert f"{expected.values[0, -1]:.2f}" in out
    assert (tmp_path / "s.html").read_text(encoding="utf-8") == expected.to_html()
    assert (tmp_path / "s.svg").read_bytes().startswith(b"<?xml")


def test_similarity_of_two_models(model: str, tmp_path: Path) -> None:
    texts, record = tmp_path / "lines.txt", tmp_path / "s.npz"
    texts.write_text("The keys to the cabinet are here.\nA dog saw the cat.\n" * 3)
    words = ["similarity", "--model", model, "--other-model", model, "--text-file", str(texts)]
    assert cli.main([*words, "--layers", "1:3", "--save", str(record)]) == 0
    found = ecco_captum.Similarity.load(record)
    assert found.values.shape == (2, 2)
    assert not found.is_square
    assert found.values.diagonal() == pytest.approx(1)


def test_similarity_refuses_a_file_without_texts(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lines.txt").write_text(" \n\n")
    words = ["similarity", "--model", model, "--text-file", str(tmp_path / "lines.txt")]
    assert cli.main(words) == 1
    assert "--text-file: " in capsys.readouterr().err


def test_probes_of_a_treebank(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    treebank, record = written(tmp_path, (TEXT + "\n") * 20), tmp_path / "p.npz"
    words = ["probe", "--model", model, "--conllu", str(treebank), "--save", str(record)]
    words += ["--layers", "0:1", "--trials", "2", "--epochs", "2", "-o", str(tmp_path / "p.html")]
    words += ["--codelength", "--checkpoint", str(tmp_path / "kept")]
    words += ["--plot", str(tmp_path / "p.pdf")]
    assert cli.main(words) == 0
    found = ecco_captum.ProbeReport.load(record)
    assert found.codelength is not None
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "hidden.npz",
        "neurons.npz",
    ]
    assert found.layers == ("embedding", "block 0")
    out = capsys.readouterr().out
    assert found.sentence in out
    assert f"{found.selectivity[1].mean():.1%}" in out
    assert (tmp_path / "p.html").read_text(encoding="utf-8") == found.to_html()
    assert cli.main([*words, "--label", "pos"]) == 1
    assert "label: got 'pos', accepts form, lemma" in capsys.readouterr().err
