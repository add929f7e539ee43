"""Where results go: files of every format, standard output, JSON, and a browser."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

import ecco_captum
from ecco_captum import Record, cli
from ecco_captum.cli.formats import check_formats, formats_of, write

PROMPT = ["--prompt", "The keys", "--max-new-tokens", "2"]


def test_a_page_is_written_by_default(model: str, folder: Path) -> None:
    assert cli.main(["rankings", "--model", model, *PROMPT, "--no-control"]) == 0
    assert [path.name for path in folder.iterdir()] == ["ecco-captum-rankings.html"]


def test_several_files_of_one_run(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a.html", "a.npz", "a.json", "a.csv", "a.png", "a.pdf", "a.svg"]
    words = [word for name in names for word in ("-o", name)]
    assert cli.main(["rankings", "--model", model, *PROMPT, *words]) == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    record = ecco_captum.Rankings.load("a.npz")
    assert Path("a.html").read_text("utf-8") == record.to_html()
    assert json.loads(Path("a.json").read_text("utf-8")) == json.loads(record.to_json())
    table = Path("a.csv").read_text("utf-8").splitlines()
    assert table[0].split(",") == list(record.to_pandas().columns)
    assert len(table) == 1 + len(record.to_pandas())
    for name, start in {"a.png": b"\x89PNG", "a.pdf": b"%PDF", "a.svg": b"<?xml"}.items():
        assert Path(name).read_bytes().startswith(start)
    out = capsys.readouterr().out
    assert all(f": {folder / name}" in out for name in names)


def test_standard_output_alone(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["saliency", "--model", model, *PROMPT]
    assert cli.main([*words, "-o", "-", "-o", "a.npz"]) == 0
    first = capsys.readouterr().out
    assert cli.main([*words, "-o", "-"]) == 0
    out = capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["a.npz"]
    assert out == f"{ecco_captum.load_record('a.npz')}\n"
    assert first.startswith(out)
    assert "\x1b" not in out


def test_json_is_all_there_is_on_standard_output(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["saliency", "--model", model, *PROMPT, "--json"]
    assert cli.main(words) == 0
    captured = capsys.readouterr()
    read = json.loads(captured.out)
    assert not list(folder.iterdir())
    assert cli.main([*words, "-o", "a.npz", "--faithfulness"]) in (0, 1)
    assert cli.main([*words, "-o", "a.npz"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1]) == read
    assert f"Record: {folder / 'a.npz'}" in captured.err
    scores = ecco_captum.Attribution.load("a.npz").scores
    np.testing.assert_array_equal(np.array(read["scores"], np.float32), scores)


def test_json_holds_what_stands_beside_a_result(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = ["--prompt", "The keys to the cabinet are on the table", "--max-new-tokens", "2"]
    assert cli.main(["saliency", "--model", model, *prompt, "--json", "--faithfulness"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["record"] == "Attribution"
    assert read["faithfulness"]["record"] == "Faithfulness"


def test_models_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == [
        "smollm2-135m",
        "minilm-l6",
    ]


@pytest.mark.parametrize("there_is_one", [True, False])
def test_the_page_is_opened(
    there_is_one: bool,
    model: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    opened: list[str] = []

    def browser(address: str) -> bool:
        opened.append(address)
        return there_is_one

    monkeypatch.setattr("webbrowser.open", browser)
    words = ["generate", "--model", model, *PROMPT, "--open"]
    assert cli.main(words) == 0
    assert opened == [(folder / "ecco-captum-generate.html").as_uri()]
    assert ("no browser" in capsys.readouterr().err) != there_is_one
    assert cli.main([*words, "-o", "a.npz"]) == 1
    assert "--open: no page is written" in capsys.readouterr().err


def test_nothing_is_left_of_a_file_that_could_not_be_written(
    model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(self: Record, *given: object, **options: object) -> object:
        raise OSError("disk full")

    Path("a.csv").write_text("before")
    monkeypatch.setattr(ecco_captum.Generation, "to_pandas", cut_off)
    assert cli.main(["generate", "--model", model, *PROMPT, "-o", "a.csv"]) == 1
    assert [path.name for path in folder.iterdir()] == ["a.csv"]
    assert Path("a.csv").read_text() == "before"


def test_formats_are_those_that_a_record_has() -> None:
    public = [getattr(ecco_captum, name) for name in ecco_captum.__all__]
    kinds = [k for k in public if isinstance(k, type) and issubclass(k, Record) and k is not Record]
    assert {".npz", ".json", ".csv"} <= set.intersection(*(set(formats_of(k)) for k in kinds))
    assert ".html" not in formats_of(ecco_captum.Activations)
    assert ".png" not in formats_of(ecco_captum.Report)
    assert ".png" in formats_of(ecco_captum.Attribution)
    assert formats_of(ecco_captum.Report)[0] == ".html"


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("a.csv", "pandas", "data"),
        ("a.parquet", "pyarrow", "arrow"),
        ("a.pdf", "matplotlib", "plot"),
    ],
)
def test_a_format_that_needs_more_says_what(
    name: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda wanted: None if wanted == module else present("json")
    )
    with pytest.raises(ValueError, match=rf"'{name}' needs {module}: .*ecco-captum\[{extra}\]"):
        check_formats([Path(name)], ecco_captum.Rankings)


def test_parquet(model: str, folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert cli.main(["rankings", "--model", model, *PROMPT, "-o", "a.parquet", "-o", "a.npz"]) == 0
    table = ecco_captum.load_record("a.npz").to_pandas()
    assert parquet.read_table("a.parquet").to_pandas().equals(table)


def test_a_surrogate_does_not_stop_a_table(folder: Path) -> None:
    from record_samples import rankings

    write(rankings(["\ud83d", "a"]), Path("a.csv"), {})
    assert "\\ud83d" in Path("a.csv").read_text("utf-8")


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
@pytest.mark.parametrize("place", ["file", "stdin"])
def test_one_newline_at_the_end_is_no_part_of_a_prompt(
    end: str, place: str, model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Path("prompt.txt")
    given.write_bytes(f"The keys\n{end}".encode())
    monkeypatch.setattr("sys.stdin", io.StringIO(f"The keys\n{end}", newline=None))
    source = ["--prompt", "-"] if place == "stdin" else ["--prompt-file", "prompt.txt"]
    words = ["generate", "--model", model, *source, "--max-new-tokens", "1", "-o", "a.npz"]
    assert cli.main(words) == 0
    expected = "The keys\n" if end else "The keys"
    assert ecco_captum.Generation.load("a.npz").prompt == expected
    monkeypatch.setattr("sys.stdin", io.StringIO("The keys\n"))
    given.write_text("The keys\n")
    assert cli.main([*words, "--keep-newline"]) == 0
    assert ecco_captum.Generation.load("a.npz").prompt == "The keys\n"
