"""Runs over a corpus in this process: what is written, what is refused, and what a kill leaves."""

from __future__ import annotations

import dataclasses
import functools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from corpus_samples import contents, sentences, tiny_gpt2

from ecco_captum import (
    Activations,
    Captured,
    Corpus,
    LanguageModel,
    ModelRecipe,
    TextTables,
    capture,
    capture_price,
    force_decode,
    hidden_states,
    map_texts,
    neurons,
    saliency,
)
from ecco_captum.corpus.corpus import CorpusText
from ecco_captum.corpus.parts import Journal, Made
from ecco_captum.corpus.recipe import LoadedModel
from ecco_captum.corpus.run import run_job
from ecco_captum.corpus.worker import NotDeterministicError, Work, Worker

TEXTS = sentences(40)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_gpt2()


def captured(lm: Any, folder: Path, texts: Any = TEXTS, **options: Any) -> Captured:
    chosen = {"hidden_states": "all", "neurons": [0, -1], "tokens_per_part": 100, **options}
    return capture(lm, texts, folder, progress=False, **chosen)


def test_parts_hold_what_one_process_reads(lm: LanguageModel, tmp_path: Path) -> None:
    made = captured(lm, tmp_path / "acts", dtype="float32")
    assert len(made.plan.parts) > 3
    for kind, function in (("hidden_states", hidden_states), ("neurons", neurons)):
        layers = None if kind == "hidden_states" else [0, -1]
        expected = function(lm, TEXTS, layers=layers, progress=False)
        held = getattr(made, kind)
        np.testing.assert_allclose(held.values[:], expected.values, rtol=1e-5, atol=1e-6)
        assert held.tokens.texts == expected.tokens.texts
        for name in ("layers", "sequences"):
            np.testing.assert_array_equal(getattr(held, name), getattr(expected, name))
        assert (held.kind, held.stack, held.model) == (expected.kind, expected.stack, lm.name)
    again = Captured.open(tmp_path / "acts")
    np.testing.assert_array_equal(again.neurons.values[:], made.neurons.values[:])
    with pytest.raises(ValueError, match="holds hidden states and neurons"):
        Activations.open(tmp_path / "acts")
    alone = captured(lm, tmp_path / "alone", neurons=None)
    assert Activations.open(tmp_path / "alone").shape == alone.hidden_states.shape
    with pytest.raises(ValueError, match="no activations of the kind 'neurons'"):
        _ = alone.neurons


def test_values_in_parts_are_indexed_like_an_array(lm: LanguageModel, tmp_path: Path) -> None:
    values = captured(lm, tmp_path / "acts").hidden_states.values
    whole = np.asarray(values)
    _, tokens, features = whole.shape
    rng = np.random.default_rng(0)
    for _ in range(8):
        start, stop = sorted(rng.integers(0, tokens + 1, 2).tolist())
        for index in (
            slice(start, stop),
            slice(stop, start, -2),
            slice(start, stop, 3),
            int(rng.integers(-tokens, tokens)),
            rng.integers(-tokens, tokens, 9),
        ):
            row = int(rng.integers(len(whole)))
            np.testing.assert_array_equal(values[row, index], whole[row, index])
            np.testing.assert_array_equal(values[:, index], whole[:, index])
            np.testing.assert_array_equal(
                values[row, index, 2 : features - 1], whole[row, index, 2 : features - 1]
            )


def test_records_of_parts_are_saved_and_opened(lm: LanguageModel, tmp_path: Path) -> None:
    acts = captured(lm, tmp_path / "acts").hidden_states
    acts.save(tmp_path / "acts.npz")
    again = Activations.load(tmp_path / "acts.npz")
    np.testing.assert_array_equal(again.values[1:, 3:9], acts.values[1:, 3:9])


def test_texts_that_cannot_be_read_are_listed(lm: LanguageModel, tmp_path: Path) -> None:
    long = "the " * 400
    rows = [
        {"id": "good", "text": "the keys"},
        {"id": "blank", "text": " "},
        {"id": "long", "text": long},
        {"id": "none", "text": None},
        {"id": "odd", "text": [3, 10**6]},
        {"id": "good", "text": "a dog"},
    ]
    corpus = Corpus(rows, id_column="id")
    made = captured(lm, tmp_path / "acts", corpus)
    reasons = {problem.id: problem.reason for problem in made.problems}
    assert set(reasons) == {"blank", "long", "none", "odd", "good#2"}
    assert reasons["blank"] == "it is blank"
    assert "the context" in reasons["long"]
    assert "another text's" in reasons["good#2"]
    assert len(made.hidden_states.sequences) == 2
    split = captured(lm, tmp_path / "split", corpus, long="split")
    assert "long" not in {problem.id for problem in split.problems}
    assert len(split.hidden_states.tokens) > len(lm.tokenizer(long)["input_ids"])


def test_a_part_without_any_text_is_a_part(lm: LanguageModel, tmp_path: Path) -> None:
    made = captured(lm, tmp_path / "acts", ["", "the keys", " "], tokens_per_part=1)
    assert made.hidden_states.tokens.texts == tuple(
        hidden_states(lm, "the keys", progress=False).tokens.texts
    )
    with pytest.raises(ValueError, match="no activations"):
        _ = captured(lm, tmp_path / "none", [" "]).hidden_states


def test_a_folder_is_of_one_run(lm: LanguageModel, tmp_path: Path) -> None:
    folder = tmp_path / "acts"
    captured(lm, folder)
    held = contents(folder)
    captured(lm, folder)
    captured(lm, folder, None)
    with pytest.raises(ValueError, match="holds dtype 'float16', this run has 'float32'"):
        captured(lm, folder, dtype="float32")
    with pytest.raises(ValueError, match="texts: those from number 0"):
        captured(lm, folder, TEXTS[1:])
    with pytest.raises(ValueError, match="holds job 'capture', this run has 'map_texts'"):
        map_texts(lm, TEXTS, row, folder, progress=False)
    assert contents(folder) == held
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="holds something else"):
        captured(lm, tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        captured(lm, tmp_path / "no" / "acts")
    with pytest.raises(ValueError, match="got neither"):
        capture(lm, TEXTS, tmp_path / "acts2")
    with pytest.raises(ValueError, match="store: got None"):
        neurons(ModelRecipe(tiny_gpt2), TEXTS)
    with pytest.raises(ValueError, match="engine: got 'spark'"):
        captured(lm, tmp_path / "acts2", engine="spark")
    with pytest.raises(ValueError, match="layers"):
        capture(ModelRecipe(tiny_gpt2), TEXTS, tmp_path / "acts2", neurons=[99], progress=False)
    with pytest.raises(ValueError, match="text_column: row 1"):
        captured(lm, tmp_path / "acts2", Corpus([{"a": "b", "c": "d"}], text_column="text"))
    assert not (tmp_path / "acts2").exists()


def test_a_model_of_other_weights_is_refused(lm: LanguageModel, tmp_path: Path) -> None:
    folder = tmp_path / "acts"
    captured(lm, folder)
    missing = folder / "parts" / "000001"
    for path in sorted(missing.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    missing.rmdir()
    with pytest.raises(ValueError, match=r"model: the one of this worker has weights \w+ instead"):
        captured(tiny_gpt2(1), folder)
    with pytest.raises(ValueError, match="store: another run is writing"):
        with_lock(folder, lambda: captured(lm, folder))


def test_what_a_capture_would_take(lm: LanguageModel, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"hidden_states": "all", "neurons": [0], "tokens_per_part": 100}
    price = capture_price(lm, iter(TEXTS), **asked)
    made = capture(lm, TEXTS, tmp_path / "acts", **asked, progress=False)
    assert price.plan == made.plan
    assert price.seconds > 0
    written = sum(
        path.stat().st_size
        for part in (tmp_path / "acts" / "parts").iterdir()
        for kind in ("hidden", "neurons")
        for path in (part / kind).rglob("*")
    )
    assert price.bytes == pytest.approx(written, rel=0.3)
    assert f"{price.plan.tokens:,} tokens of 40 texts" in str(price)
    with pytest.raises(ValueError, match="tokens_per_part: got 0"):
        capture_price(lm, TEXTS, neurons="all", tokens_per_part=0)


def with_lock(folder: Path, function: Any) -> None:
    """Calls a function while another process holds a folder."""
    code = (
        "import sys, filelock\n"
        f"lock = filelock.FileLock({str(folder.with_name(f'.{folder.name}.lock'))!r})\n"
        "lock.acquire()\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            function()
        finally:
            holder.communicate("")


@dataclasses.dataclass(frozen=True)
class Random:
    """A job that writes other bytes each time."""

    description: Any = dataclasses.field(default_factory=lambda: {"job": "random"})

    def run(
        self, lm: LanguageModel, texts: Sequence[CorpusText], folder: Path, journal: Journal
    ) -> Made:
        (folder / "x").write_bytes(os.urandom(8))
        return Made(1, 1)


def test_a_part_that_is_made_twice_must_be_the_same(lm: LanguageModel, tmp_path: Path) -> None:
    run_job(Random(), lm, ["one"], tmp_path / "out", progress=False)
    before = contents(tmp_path / "out")
    worker = Worker(Work(str(tmp_path / "out"), Random(), LoadedModel(lm)))
    with pytest.raises(NotDeterministicError, match="part 0 is not deterministic"):
        worker(0)
    folder = tmp_path / "acts"
    made = captured(lm, folder)
    assert made.plan.parts[0].number == 0
    job = capture_job(folder)
    assert Worker(Work(str(folder), job, LoadedModel(lm)))(0).tokens == made.plan.parts[0].tokens
    after = {name: digest for name, digest in contents(tmp_path / "out").items() if "parts" in name}
    assert after == {name: digest for name, digest in before.items() if "parts" in name}


def capture_job(folder: Path) -> Any:
    """The job that a folder was made by, as ``captured`` asks for it."""
    from ecco_captum.activations.capture import CaptureJob

    return CaptureJob("all", [0, -1], "decoder", "float16", None, "error")


def row(lm: LanguageModel, text: str) -> dict[str, Any]:
    if "dog" in text:
        raise ValueError("no dogs")
    return {"letters": len(text), "rank": int(force_decode(lm, text, " a").ranks[0])}


def power(lm: LanguageModel, text: str, *, exponent: int) -> dict[str, int]:
    return {"letters": len(text) ** exponent}


def table(lm: LanguageModel, text: str) -> Any:
    return saliency(lm, force_decode(lm, text, " a"))


def test_any_function_of_a_text(lm: LanguageModel, tmp_path: Path) -> None:
    made = map_texts(lm, TEXTS, row, tmp_path / "rows", tokens_per_part=100, progress=False)
    expected = pandas.DataFrame(
        [
            {"id": str(k), **row(lm, text)}
            for k, text in enumerate(TEXTS, start=1)
            if "dog" not in text
        ]
    )
    pandas.testing.assert_frame_equal(made.to_pandas(), expected)
    assert {problem.reason for problem in made.problems} == {"ValueError: no dogs"}
    assert len(made.problems) + len(expected) == len(TEXTS)
    assert len(made.files) > 3
    again = TextTables.open(tmp_path / "rows")
    pandas.testing.assert_frame_equal(again.to_pandas(), expected)
    of_records = map_texts(lm, TEXTS[:3], table, tmp_path / "records", progress=False).to_pandas()
    whole = pandas.concat([table(lm, text).to_pandas() for text in TEXTS[:3]], ignore_index=True)
    pandas.testing.assert_frame_equal(of_records.drop(columns="id"), whole)
    with pytest.raises(TypeError, match="function: got a str"):
        map_texts(lm, TEXTS, "saliency", tmp_path / "no")  # type: ignore[arg-type]
    odd = map_texts(lm, [{"text": None}, {"text": 3}], row, tmp_path / "odd", progress=False)
    assert [problem.id for problem in odd.problems] == ["1", "2"]
    one, other = (functools.partial(power, exponent=exponent) for exponent in (1, 2))
    map_texts(lm, TEXTS[:2], one, tmp_path / "one", progress=False)
    with pytest.raises(ValueError, match=r"holds arguments .*exponent.* this run has"):
        map_texts(lm, TEXTS[:2], other, tmp_path / "one", progress=False)
    wrong = map_texts(lm, TEXTS[:1], lambda lm, text: 3, tmp_path / "wrong", progress=False)
    assert "returned a int" in wrong.problems[0].reason
    assert wrong.to_pandas().empty


_NURSERY = """
import os, sys
sys.path[:0] = [{tests!r}]
import torch
torch.set_num_threads(1)
from corpus_samples import sentences, tiny_gpt2
from ecco_captum import ModelRecipe, capture
from ecco_captum.activations import capture as module, reading

reading._WINDOW_BYTES = 2**12
read = module.read_kinds

def poisoned(readings, texts, advance):
    if any({poison!r} in "".join(text.texts) for text in texts):
        os._exit(9)
    return read(readings, texts, advance)

if {poison!r}:
    module.read_kinds = poisoned
lm = tiny_gpt2()
lm.anatomy
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        capture(lm, sentences({texts}), line.strip(), hidden_states="all", neurons=[0, -1],
                tokens_per_part=100, progress=False, batch_tokens=30)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Nursery:
    """A process that has read everything, and starts runs over a corpus quickly."""

    def __init__(self, texts: int, poison: str = "") -> None:
        support = str(Path(__file__).parents[1] / "support")
        code = _NURSERY.format(tests=support, texts=texts, poison=poison)
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, "-c", code], **pipes)
        assert self.read() == "ready"

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, store: Path) -> int:
        print(store, file=self.process.stdin, flush=True)
        return int(self.read())

    def end(self) -> int:
        """How the run that was started has ended."""
        return int(self.read())

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate("")


def finished(folder: Path) -> int:
    """How many parts are there."""
    return len([1 for path in (folder / "parts").glob("*") if path.suffix != ".partial"])


def test_killed_at_any_moment_it_completes_to_the_same_bytes(tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "acts"
    rng, held = random.Random(0), set()
    with Nursery(200) as nursery:
        nursery.start(whole)
        assert nursery.end() == 0
        for _ in range(6):
            child = nursery.start(folder)
            wanted = finished(folder) + rng.randint(0, 1)
            limit = time.monotonic() + 60
            while finished(folder) < wanted and time.monotonic() < limit:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
            nursery.end()
            held.add(finished(folder))
        nursery.start(folder)
        assert nursery.end() == 0
    assert len(held) > 2, "killed too early or too late: nothing was tested"
    assert contents(folder) == contents(whole)


def test_a_text_that_kills_workers_is_listed_in_the_end(tmp_path: Path) -> None:
    poison, ends = "sleeps near old", []
    folder = tmp_path / "acts"
    with Nursery(20, poison) as nursery:
        while not ends or (ends[-1] and len(ends) < 30):
            nursery.start(folder)
            ends.append(nursery.end())
    made = Captured.open(folder)
    poisonous = [str(k) for k, text in enumerate(sentences(20), start=1) if poison in text]
    assert poisonous
    assert set(ends[:-1]) == {9 << 8}
    assert [problem.id for problem in made.problems] == poisonous
    assert all("workers died" in problem.reason for problem in made.problems)
    assert len(made.hidden_states.sequences) == 20 - len(poisonous)
