"""The same corpora with workers of a real Ray: two nodes on this machine, killed as it goes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from corpus_samples import contents, other_weights, sentences, tiny_gpt2, tokens_without_dogs

from ecco_captum import (
    Captured,
    Corpus,
    ModelRecipe,
    RayEngine,
    capture,
    hidden_states,
    map_texts,
)
from ecco_captum.corpus.adding import added
from ecco_captum.corpus.engines import LocalEngine
from ecco_captum.corpus.ray_engine import PartError, StalledWarning

ray = pytest.importorskip("ray")

pytestmark = [
    # What Ray leaves open or deprecates in itself.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # Actors are slow to begin where a machine is busy.
    pytest.mark.filterwarnings("ignore::ecco_captum.corpus.ray_engine.StalledWarning"),
]

RECIPE = ModelRecipe(tiny_gpt2)
TEXTS = [*sentences(80), " "]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of two processors each; what Ray says of this and that stays in its logs."""
    from ray.cluster_utils import Cluster

    support = str(Path(__file__).parents[1] / "support")
    held = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [support, held]))
    size = {"num_cpus": 2, "object_store_memory": 90 * 2**20, "include_dashboard": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Cluster(initialize_head=True, head_node_args=size)
        made.add_node(num_cpus=2, object_store_memory=90 * 2**20)
        ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()
    if held is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = held


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this process writes of the corpus."""
    folder = tmp_path_factory.mktemp("local") / "acts"
    captured(folder, "local")
    return folder


def captured(folder: Path, engine: Any, model: Any = RECIPE, texts: Any = TEXTS) -> Captured:
    return capture(
        model,
        texts,
        folder,
        hidden_states="all",
        neurons="all",
        tokens_per_part=120,
        engine=engine,
        progress=False,
    )


def actors() -> list[int]:
    """The processes of actors."""
    listed = psutil.process_iter(["cmdline"])
    return [each.pid for each in listed if "ray::MapWorker" in " ".join(each.info["cmdline"] or [])]


def once(condition: Callable[[], bool], action: Callable[[], object]) -> threading.Thread:
    """Does something as soon as a condition holds."""

    def wait() -> None:
        limit = time.monotonic() + 120
        while not condition() and time.monotonic() < limit:
            time.sleep(0.01)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def finished(folder: Path) -> int:
    return len([1 for path in (folder / "parts").glob("*") if path.suffix != ".partial"])


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.nightly), 2])
def test_workers_write_the_same_bytes(
    cluster: Any, whole: Path, tmp_path: Path, workers: int
) -> None:
    told: list[float] = []
    made = capture(
        RECIPE,
        TEXTS,
        tmp_path / "acts",
        hidden_states="all",
        neurons="all",
        tokens_per_part=120,
        engine=RayEngine(workers=workers),
        progress=told.append,
    )
    assert contents(tmp_path / "acts") == contents(whole)
    assert [problem.reason for problem in made.problems] == ["it is blank"]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0, abs=0.05)


def test_an_actor_is_killed(cluster: Any, whole: Path, tmp_path: Path) -> None:
    folder, killed = tmp_path / "acts", list[int]()

    def kill() -> None:
        killed.append(actors()[0])
        os.kill(killed[0], signal.SIGKILL)

    thread = once(lambda: finished(folder) > 0, kill)
    captured(folder, RayEngine(workers=2))
    thread.join()
    assert killed
    assert contents(folder) == contents(whole)


def test_a_node_is_removed(cluster: Any, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "acts"
    extra = cluster.add_node(num_cpus=2, object_store_memory=90 * 2**20)
    cluster.wait_for_nodes()
    thread = once(
        lambda: finished(folder) > 0, lambda: cluster.remove_node(extra, allow_graceful=False)
    )
    # With a processor to spare on what is left.
    captured(folder, RayEngine(workers=3))
    thread.join()
    assert contents(folder) == contents(whole)


@pytest.mark.nightly
def test_thirty_kills_at_random_moments(cluster: Any, tmp_path: Path) -> None:
    texts, rng, kills, runs = sentences(300), random.Random(0), 0, 0
    captured(tmp_path / "whole", "local", texts=texts)
    while kills < 30:
        folder, ended = tmp_path / f"acts{runs}", threading.Event()
        struck = list[int]()

        def strike(
            left: int = 30 - kills, ended: threading.Event = ended, struck: list[int] = struck
        ) -> None:
            # A worker needs seconds to begin; without a pause no part would ever be made.
            while not ended.wait(rng.uniform(1, 12)) and len(struck) < left:
                if running := actors():
                    struck.append(rng.choice(running))
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(struck[-1], signal.SIGKILL)

        thread = threading.Thread(target=strike)
        thread.start()
        try:
            captured(folder, RayEngine(workers=2), texts=texts)
        finally:
            ended.set()
            thread.join()
        kills, runs = kills + len(struck), runs + 1
        assert contents(folder) == contents(tmp_path / "whole")


def test_the_file_of_a_cluster_is_valid() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    path = Path(__file__).parents[2] / "docs" / "ray_cluster.yaml"
    config = prepare_config(yaml.safe_load(path.read_text("utf-8")))
    validate_config(config)
    assert config["max_workers"] == 8
    installed = config["setup_commands"][0]
    assert f'"ray[data]=={ray.__version__}"' in installed


_DRIVER = """
import sys, warnings
warnings.simplefilter("ignore")
sys.path[:0] = [{support!r}]
import ray
ray.init(address={address!r}, log_to_driver=False)
from corpus_samples import sentences, tiny_gpt2
from ecco_captum import ModelRecipe, RayEngine, capture
capture(ModelRecipe(tiny_gpt2), [*sentences(80), " "], {store!r}, hidden_states="all",
        neurons="all", tokens_per_part=120, engine=RayEngine(workers=2), progress=False)
"""


@pytest.mark.parametrize(
    "end", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)]
)
def test_the_driver_is_killed_and_called_again(
    cluster: Any, whole: Path, tmp_path: Path, end: signal.Signals
) -> None:
    folder = tmp_path / "acts"
    support = str(Path(__file__).parents[1] / "support")
    code = _DRIVER.format(support=support, address=cluster.address, store=str(folder))
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as driver:
        once(lambda: finished(folder) > 0, lambda: driver.send_signal(end)).join()
    assert driver.returncode
    left = finished(folder)
    captured(folder, RayEngine(workers=2))
    assert left > 0
    assert contents(folder) == contents(whole)


def test_functions_of_texts_give_the_same_tables(cluster: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"tokens_per_part": 300, "progress": False}
    here = map_texts(RECIPE, TEXTS, tokens_without_dogs, tmp_path / "here", **options)
    there = map_texts(
        RECIPE,
        TEXTS,
        tokens_without_dogs,
        tmp_path / "there",
        engine=RayEngine(workers=2),
        **options,
    )
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert here.problems == there.problems
    assert "ValueError: no dogs" in {problem.reason for problem in there.problems}


def test_a_corpus_with_faults_is_read_to_its_end(cluster: Any, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    rows = [{"id": f"t{k}", "text": text} for k, text in enumerate(sentences(200))]
    rows[7]["id"], rows[150]["id"] = "t6", "t149"  # one in a hundred
    rows[40]["text"], rows[90]["text"] = "", "the " * 500
    lines = [json.dumps(row) for row in rows]
    lines[120] = '{"id": "t120", "text":'
    path.write_text("\n".join(lines), "utf-8")
    made = capture(
        RECIPE,
        Corpus(path, id_column="id"),
        tmp_path / "acts",
        hidden_states=[0],
        tokens_per_part=400,
        engine=RayEngine(workers=2),
        progress=False,
    )
    reasons = {problem.id: problem.reason for problem in made.problems}
    assert set(reasons) == {"t6#2", "t149#2", "t40", "t90", f"{path}:121"}
    assert "no JSON" in reasons[f"{path}:121"]
    assert len(made.hidden_states.sequences) == 200 - 3


def test_a_data_set_of_ray_is_a_corpus(cluster: Any) -> None:
    data = ray.data.from_items([{"key": f"k{k}", "text": text} for k, text in enumerate(TEXTS)])
    corpus = Corpus(data, id_column="key")
    assert {(text.id, text.text) for text in corpus} == {
        (f"k{k}", text) for k, text in enumerate(TEXTS)
    }


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.nightly), 3])
def test_sums_do_not_depend_on_workers(cluster: Any, workers: int) -> None:
    pieces = list(np.random.default_rng(0).normal(size=(11, 5)) * 1e8)

    def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b

    expected = LocalEngine().total(np.exp2, [piece / 1e7 for piece in pieces], add)
    summed = RayEngine(workers=workers).total(np.exp2, [piece / 1e7 for piece in pieces], add)
    np.testing.assert_array_equal(summed, expected)
    squares = list(RayEngine(workers=workers).map(np.square, pieces))
    np.testing.assert_array_equal(squares, [piece**2 for piece in pieces])


def test_sums_in_pairs_are_sums() -> None:
    for count in range(1, 40):
        assert added(iter(range(count)), lambda a, b: a + b) == sum(range(count))
        assert added(map(str, range(count)), lambda a, b: a + b) == "".join(map(str, range(count)))
    with pytest.raises(ValueError, match="pieces: got none"):
        added(iter([]), lambda a, b: a + b)


def test_what_a_worker_cannot_do_is_told(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="accepts a ModelRecipe with engine='ray'"):
        captured(tmp_path / "a", RayEngine(workers=1), tiny_gpt2())
    broken = ModelRecipe(lambda: 3)
    with pytest.raises(TypeError, match="it returned a int"):  # its tokenizer is asked for here
        captured(tmp_path / "b", RayEngine(workers=1), broken)
    captured(tmp_path / "c", "local", texts=TEXTS[:3])
    with pytest.raises(ValueError, match="workers: got 0"):
        RayEngine(workers=0)
    captured(tmp_path / "d", "local", texts=TEXTS[:30])
    shutil.rmtree(tmp_path / "d" / "parts" / "000000")
    with pytest.raises(PartError, match="part 0: "):
        captured(tmp_path / "d", RayEngine(workers=1), ModelRecipe(other_weights), TEXTS[:30])
    assert (
        hidden_states(
            RECIPE, TEXTS[:3], store=tmp_path / "e", engine=RayEngine(workers=1), progress=False
        ).shape
        == hidden_states(tiny_gpt2(), TEXTS[:3], progress=False).shape
    )


def test_a_stall_says_what_waits_for_what(cluster: Any, tmp_path: Path) -> None:
    engine = RayEngine(workers=1, stall_seconds=0.2)
    with pytest.warns(StalledWarning, match=r"no worker has its model yet.* processors free"):
        captured(tmp_path / "acts", engine, texts=TEXTS[:3])
