"""The command: reports, exit codes, and errors in one line."""

from __future__ import annotations

import html
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from probing_samples import TEXT, written
from record_samples import watched

import ecco_captum
from ecco_captum import cli
from ecco_captum.cli.output import progress_bar, show
from ecco_captum.lens.terminal import watched_blocks


def test_saliency_writes_the_report_and_the_record(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, record = tmp_path / "r.html", tmp_path / "r.npz"
    words = ["saliency", "--model", model, "--prompt", "The keys\n", "-o", str(report)]
    assert cli.main([*words, "--max-new-tokens", "3", "-o", str(record)]) == 0
    out = capsys.readouterr().out
    assert f"Page: {report}" in out
    attribution = ecco_captum.load_record(record)
    assert isinstance(attribution, ecco_captum.Attribution)
    assert len(attribution.scores) == 3
    assert report.read_text(encoding="utf-8") == attribution.to_html()
    # The strongest source and its share stand in the summary.
    strongest = attribution.shares[0].max()
    assert f"{strongest:.1%}" in out


def test_a_report_of_every_analysis(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, record = tmp_path / "r.html", tmp_path / "r.npz"
    words = ["report", "--model", model, "--prompt", "The keys to the", "-o", str(page)]
    words += ["--max-new-tokens", "6", "--components", "2", "-o", str(record), "--open"]
    seen: list[str] = []

    def browser(address: str) -> bool:
        assert address == page.as_uri()
        seen.append(page.read_text(encoding="utf-8"))
        return True

    monkeypatch.setattr("webbrowser.open", browser)
    assert cli.main(words) == 0
    assert len(seen) == 1
    assert seen[0].count("running …") == 5, "the text is explained, the rest is to come"
    loaded, out = ecco_captum.Report.load(record), capsys.readouterr().out
    assert page.read_text(encoding="utf-8") == loaded.to_html()
    for finding in loaded.findings:
        assert f"{finding.question}  [{finding.verdict}]" in out
        assert finding.line.split()[-1] in out
    interrupted = False

    def stop(address: str) -> bool:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    monkeypatch.setattr("webbrowser.open", stop)
    assert cli.main(words) == 130
    assert interrupted
    assert page.read_text(encoding="utf-8") == loaded.to_html(), "the page from before is back"
    page.unlink()
    assert cli.main(words) == 130
    assert not page.exists()
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
        save = ["-o", str(tmp_path / "a.npz"), "-o", str(tmp_path / "a.html")]
        assert cli.main([*common, *given, *save]) == 0
        generation = ecco_captum.Attribution.load(tmp_path / "a.npz").generation
        assert generation.prompt == "The keys 🙂"
        texts.append(generation.text)
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--prompt", "a\ud800"], "half of a surrogate pair"),
        (["--prompt", "a", "--method", "magic"], "method: got 'magic'"),
        (["--prompt", "a", "--max-new-tokens", "0"], "max_new_tokens: got 0"),
        (["--prompt", "a", "-o", "/no/such/folder/r.html"], "no folder '/no/such/folder'"),
        (["--prompt", "a", "-o", "/no/such/folder/r.npz"], "--output: there is no folder"),
        (["--prompt", "a", "-o", "/tmp"], "--output: '/tmp' is a folder"),
        (["--prompt", "a", "-o", "x.html", "-o", "./x.html"], "is named twice"),
        (["--prompt-file", "/no/such/file"], "--prompt-file: there is no file '/no/such/file'"),
        (["--prompt", "a", "-o", "x.gif"], "got 'x.gif', accepts a name with .html, .npz"),
        (["--prompt", "a", "-o", "noending"], "got 'noending', accepts a name"),
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

    monkeypatch.setattr("ecco_captum.offline_models", interrupted)
    assert cli.main(["models"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    assert "smollm2-135m" in out
    assert "Apache-2.0" in out


COMMANDS = [command.__name__.replace("_", "-") for command in cli.commands.COMMANDS]


@pytest.mark.parametrize("words", [["--help"], ["saliency", "--help"], ["--version"]])
def test_help_is_there_without_loading_torch(words: list[str]) -> None:
    code = (
        f"import sys; from ecco_captum import cli\ncode = cli.main({words!r})\n"
        "print(code, {'torch', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip().endswith("0 set()")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_defaults_but_no_none(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "-h"]) == 0
    page = capsys.readouterr().out
    assert "--traceback" in page
    assert "None" not in page
    assert "\x1b" not in page


def test_the_help_of_the_whole_names_commands_and_exit_codes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["--help"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "Exit codes: 0 done, 1 failed (one line says why), 2 wrong usage, 3 some prompts" in page
    for word in (*COMMANDS, "--install-completion", "--show-completion"):
        assert f" {word} " in page


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "Usage: ecco-captum"),
        (["salience"], "saliency"),
        (["models", "--none-such"], "--none-such"),
        (["saliency", "--model", "x", "-o", "a.html"], "--prompt"),
        (["saliency", "--prompt", "a", "--prompts-file", "b"], "--prompts-file"),
        (["saliency", "--prompt", "a", "--score", "loss"], "logprob"),
        (["saliency", "--prompt", "a", "--aggregate", "mean"], "max_abs"),
        (["neurons", "--text", "a", "--text-file", "b"], "one of --text-file and --text"),
        (
            ["factors", "--prompt", "a", "--prompt-file", "b"],
            "one of --prompt and --prompt-file",
        ),
        (["rankings", "--prompt", "a", "--value", "norm"], "logit"),
        (["rankings", "--prompt", "a", "--layers", "1:2:3"], "START:END"),
        (["rankings", "--prompt", "a", "--max-new-tokens", "many"], "--max-new-tokens"),
        (["similarity"], "--text-file"),
        (["probe"], "--conllu"),
    ],
)
def test_wrong_usage_exits_with_2(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert line in (captured.err if words else captured.out)


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("ecco-captum sal", {"saliency"}),
        ("ecco-captum watch --pos", {"--position"}),
        ("ecco-captum similarity --measure p", {"pwcca"}),
        ("ecco-captum watch --model m", {"minilm-l6"}),
    ],
)
def test_the_shell_completes(typed: str, completions: set[str]) -> None:
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", "from ecco_captum import cli; cli.main()"],
        env={**os.environ, **asked, "_ECCO_CAPTUM_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
    )
    assert set(done.stdout.split()) == completions


def test_a_reader_who_leaves_is_told_nothing() -> None:
    code = "import sys; from ecco_captum import cli; sys.exit(cli.main(['models']))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


TOKENS = ("\x1b[31m", "[red]", ":smile:", "\n", "  ", " Paris")


@pytest.mark.parametrize("screen", [Terminal, io.StringIO])
def test_tokens_cannot_act_on_the_terminal(
    screen: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", screen())
    monkeypatch.setenv("NO_COLOR", "1")
    given = {"ranks": np.arange(6)[None] + 2, "top_ids": np.zeros(1, int), "texts": {"0": "\x07"}}
    show(" and ".join(TOKENS), watched_blocks(watched(TOKENS, 1, **given))[1])
    printed = sys.stdout.getvalue()  # type: ignore[attr-defined]
    plain = printed.replace("\x1b[1m", "").replace("\x1b[0m", "")  # a bold header
    assert plain.startswith("U+001B[31m and [red] and :smile: and \n and    and  Paris\n")
    header = ["LAYER", "U+001B[31m", "[red]", ":smile:", "↵", "␣␣", "Paris", "TOP", "TOKEN"]
    lines = [line.split() for line in plain.splitlines()]
    assert lines[-2:] == [header, ["embedding", *"234567", "U+0007"]]
    assert (plain == printed) == (screen is io.StringIO)


def test_what_is_no_terminal_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show("word " * 99)
    assert capsys.readouterr().out == "word " * 99 + "\n"


@pytest.mark.parametrize("screen", [Terminal, io.StringIO])
def test_one_bar_for_all_steps_on_a_terminal(
    screen: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", screen())
    with progress_bar(2) as step:
        step("Reading")(0.5)
        step("Comparing")(1.0)
    drawn = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert ("Comparing" in drawn) == (screen is Terminal)
    assert ("\n" in drawn) == (screen is Terminal)


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
    files = ["-o", str(report), "-o", str(record), "-o", str(figure)]
    assert cli.main([*words, *files, "--layers", "1:", "--position", "0"]) == 0
    loaded = ecco_captum.WatchedRankings.load(record)
    assert (loaded.layers.tolist(), loaded.positions.tolist()) == ([1, 2, 3], [0])
    assert report.read_text(encoding="utf-8") == loaded.to_html()
    assert figure.read_bytes().startswith(b"%PDF")


def test_rankings_tells_when_tokens_were_decided(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, record = tmp_path / "r.html", tmp_path / "r.npz"
    words = ["rankings", "--model", model, "--prompt", "The keys", "--max-new-tokens", "3"]
    assert cli.main([*words, "-o", str(report), "-o", str(record), "--value", "prob"]) == 0
    out = capsys.readouterr().out
    loaded = ecco_captum.Rankings.load(record)
    assert loaded.value == "prob"
    assert loaded.ranks.shape == (4, 3)
    assert loaded.sentence in out
    assert out.count("block 2") >= 1
    assert report.read_text(encoding="utf-8") == loaded.to_html()
    assert cli.main([*words, "-o", str(record), "--no-control", "--positions", "all"]) == 0
    again = ecco_captum.Rankings.load(record)
    assert again.shuffled_ranks is None
    assert again.ranks.shape[1] > 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["watch", "--prompt", "x"], "WORD: got none, accepts at least one token to watch"),
        (["watch", "--prompt", "x", "a", "-o", "a.gif"], "--output: got 'a.gif', accepts a name"),
        (["watch", "--prompt", "x", "a", "-o", "no/a.pdf"], "--output: there is no folder"),
        (
            ["order-test", "--prompt", "x", "-o", "a.svg"],
            "no figure of OrderTest; accepts",
        ),
        (["report", "--prompt", "x", "-o", "a.png"], "there is no figure of Report; accepts"),
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
    files = ["-o", str(report), "-o", str(record), "-o", str(tmp_path / "f.svg")]
    assert cli.main([*words, *files, "--stability", "1", "--layers", "1:"]) == 0
    out = capsys.readouterr().out
    loaded = ecco_captum.Factors.load(record)
    assert loaded.count == 2
    assert loaded.activations.layers.tolist() == [1, 2]
    assert loaded.sentence in out
    assert "Without its 50 strongest neurons" in out
    assert "without each factor's 50 strongest neurons" in html.unescape(report.read_text("utf-8"))
    assert (tmp_path / "f.svg").read_text(encoding="utf-8").count("<text") > 3


def test_similarity_compares_the_texts_of_a_file(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, record = tmp_path / "lines.txt", tmp_path / "s.npz"
    texts.write_text("\n".join(["The keys to the cabinet are here.", "", " A dog 🙂"] * 12))
    words = ["similarity", "--model", model, "--text-file", str(texts), "-o", str(record)]
    words += ["--representations", "both", "--draws", "4", "-o", str(tmp_path / "s.html")]
    assert cli.main([*words, "--bootstrap", "5", "-o", str(tmp_path / "s.svg")]) == 0
    loaded = ecco_captum.Similarity.load(record)
    lm = ecco_captum.load(model)
    lines = ["The keys to the cabinet are here.", " A dog 🙂"] * 12
    read = [ecco_captum.hidden_states(lm, lines), ecco_captum.neurons(lm, lines)]
    expected = ecco_captum.compare(read, measure="cka", n_draws=4, bootstrap=5)
    for field in ("values", "null_mean", "null_95", "interval"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(expected, field))
    out = capsys.readouterr().out
    assert expected.sentence in out
    assert f"{expected.values[0, -1]:.2f}" in out
    assert (tmp_path / "s.html").read_text(encoding="utf-8") == expected.to_html()
    assert (tmp_path / "s.svg").read_bytes().startswith(b"<?xml")


def test_similarity_of_two_models(model: str, tmp_path: Path) -> None:
    texts, record = tmp_path / "lines.txt", tmp_path / "s.npz"
    texts.write_text("The keys to the cabinet are here.\nA dog saw the cat.\n" * 3)
    words = ["similarity", "--model", model, "--other-model", model, "--text-file", str(texts)]
    assert cli.main([*words, "--layers", "1:3", "-o", str(record)]) == 0
    loaded = ecco_captum.Similarity.load(record)
    assert loaded.values.shape == (2, 2)
    assert not loaded.is_square
    assert loaded.values.diagonal() == pytest.approx(1)


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
    words = ["probe", "--model", model, "--conllu", str(treebank), "-o", str(record)]
    words += ["--layers", "0:1", "--trials", "2", "--epochs", "2", "-o", str(tmp_path / "p.html")]
    words += ["--codelength", "--checkpoint", str(tmp_path / "kept")]
    words += ["-o", str(tmp_path / "p.pdf")]
    assert cli.main(words) == 0
    loaded = ecco_captum.ProbeReport.load(record)
    assert loaded.codelength is not None
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "hidden.npz",
        "neurons.npz",
    ]
    assert loaded.layers == ("embedding", "block 0")
    out = capsys.readouterr().out
    assert loaded.sentence in out
    assert f"{loaded.selectivity[1].mean():.1%}" in out
    assert (tmp_path / "p.html").read_text(encoding="utf-8") == loaded.to_html()
    assert cli.main([*words, "--label", "pos"]) == 1
    assert "label: got 'pos', accepts form, lemma" in capsys.readouterr().err
