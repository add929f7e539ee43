"""Whether an installation works: run it with an environment's Python that holds the wheel alone.

    cd SOMEWHERE_EMPTY && .../bin/python -I .../tests/project/smoke.py

It needs nothing but the package and what that asks for, and no network. It prints the versions that
work together, or what does not work and why, and then exits with 1.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

PROMPT = "The keys to the cabinet"
TEXTS = [PROMPT, "are on the table, and the table is in the house.", "William was born there."]
SHOWN = [
    *("torch", "transformers", "captum", "numpy", "scipy", "scikit-learn", "accelerate", "conllu"),
    *("gguf", "ipywidgets", "anywidget", "bqplot", "filelock", "platformdirs", "tqdm"),
    *("jinja2", "lazy-loader", "rich", "typer"),
]


def check(holds: Any, what: str) -> None:
    """An assertion that python -O keeps."""
    if not holds:
        raise AssertionError(what)


def run(*command: str | Path) -> str:
    done = subprocess.run([*command], capture_output=True, text=True)
    check(done.returncode == 0, f"{command} failed:\n{done.stderr}")
    return done.stdout.strip()


def the_command_has_the_version() -> None:
    version = metadata.version("ecco-captum")
    command = Path(sysconfig.get_path("scripts")) / "ecco-captum"
    check(run(command, "--version") == f"ecco-captum {version}", "--version is another")


def the_import_is_light_and_of_the_wheel() -> None:
    heavy = run(
        *(sys.executable, "-I", "-c"),
        "import sys, ecco_captum; print(ecco_captum.__file__);"
        "print({'torch', 'transformers', 'captum', 'ipywidgets', 'bqplot'} & {*sys.modules})",
    ).splitlines()
    check(Path(heavy[0]).is_relative_to(sys.prefix), f"{heavy[0]} is not of this environment")
    check(heavy[1] == "set()", f"import ecco_captum loads {heavy[1]}")


def tokenizer() -> Any:
    """Byte-level BPE, trained on the spot."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


def tiny_gpt2(vocabulary: int) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=64,
        n_embd=32,
        n_layer=3,
        n_head=4,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
    )
    return GPT2LMHeadModel(config)


def tiny_llama(vocabulary: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        max_position_embeddings=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config)


def naive_saliency(model: Any, ids: list[int], prompt: int) -> list[Any]:
    """One forward and one backward for each output: the norm of gradient × input."""
    import torch

    rows = []
    for end in range(prompt, len(ids)):
        embedded = model.get_input_embeddings()(torch.tensor([ids[:end]]))
        embedded = embedded.detach().requires_grad_()
        score = model(inputs_embeds=embedded, use_cache=False).logits[0, -1, ids[end]]
        (gradient,) = torch.autograd.grad(score, embedded)
        rows.append((gradient * embedded).detach()[0].norm(dim=-1).numpy())
    return rows


def every_analysis(build: Callable[[int], Any], folder: Path) -> list[Any]:
    """Runs and checks each on one model; returns its records."""
    import numpy as np
    import torch

    import ecco_captum as ec

    torch.set_num_threads(1)  # tiny products are many times slower with several
    torch.manual_seed(0)
    words = tokenizer()
    model = build(len(words)).eval()
    model.generation_config.eos_token_id = None  # a random model would stop at random
    lm = ec.wrap(model, words, name="tiny")
    generation = ec.generate(lm, PROMPT, max_new_tokens=5)
    start = len(generation.prompt_ids)
    ids = [*generation.prompt_ids.tolist(), *generation.output_ids.tolist()]
    with torch.no_grad():
        greedy = model(torch.tensor([ids])).logits[0, start - 1 : -1].argmax(-1)
    check(greedy.tolist() == ids[start:], "generate: not the most probable tokens")

    attribution = ec.saliency(lm, generation)
    for found, row in zip(attribution.scores, naive_saliency(model, ids, start), strict=True):
        close = np.allclose(found[: len(row)], row, rtol=1e-3, atol=1e-6)
        check(close and row.max() > 0, f"saliency: {found} is not the naive loop's {row}")
    ranked = ec.rankings(lm, generation)
    check((ranked.ranks[-1] == generation.ranks).all(), "rankings: the last layer's are others")
    watched = ec.rankings_watch(lm, PROMPT, [ids[start], ids[0]])
    check(watched.ranks[-1][0] == 1, "rankings_watch: what is written is not ranked first")

    fired = ec.neurons(lm, TEXTS)
    check(fired.values.shape[0] == 3 and fired.values.std() > 0, "neurons: no three layers")
    found = ec.nmf(fired, 3, negatives="split")
    check(found.weights.min() >= 0 and 0 < found.error < 1, f"nmf: the error is {found.error}")
    check(abs(ec.cka(fired.values[0], fired.values[0]) - 1) < 1e-6, "cka: x is not like x")
    alike = ec.compare(fired, measure="cka", n_draws=2)
    check(np.allclose(np.diag(alike.values), 1), "compare: no layer is like itself")

    def logits() -> Any:
        return ec.force_decode(lm, PROMPT, ids[start:]).logits

    before = logits()
    with ec.ablate(lm, neurons={0: [0, 1, 2]}):
        check(not np.allclose(logits(), before, atol=1e-5), "ablate: nothing changes")
    check((logits() == before).all(), "ablate: the model is another afterwards")
    refusals(lm, folder)

    records = [attribution, ranked, watched, found, alike]
    for record in records:
        check(record.explore(lm).get_state(), f"{type(record).__name__}.explore: it is empty")
    return [generation, fired, *records]


def refusals(lm: Any, folder: Path) -> None:
    """Where an extra is not installed, the error names it."""
    import ecco_captum as ec

    uses = {
        "zarr": lambda: ec.neurons(lm, PROMPT, store=folder / "store"),
    }
    for module, use in uses.items():
        hidden = {name for name in sys.modules if name.partition(".")[0] == module}
        check(not hidden, f"{module} is loaded, though nothing asked for it")
        sys.modules[module] = None  # type: ignore[assignment]
        try:
            use()
        except ImportError as error:
            check("ecco-captum[data]" in str(error), f"{module}: {error}")
        else:
            raise AssertionError(f"{module}: no ImportError without it")
        finally:
            del sys.modules[module]


def kept_and_shown(records: list[Any], folder: Path) -> None:
    """Pages, and files that can be read again."""
    import ecco_captum as ec

    for record in records:
        name = type(record).__name__
        if name != "Activations":  # they have no page
            check(record.to_html().startswith("<!doctype html>"), f"{name}.to_html: no page")
        again = ec.load_record(record.save(folder / f"{name}.npz"))
        check(type(again) is type(record), f"{name}: a {type(again).__name__} is read back")
        check(repr(again) == repr(record), f"{name}: another is read back")


def without_tables_and_figures(path: Path) -> None:
    """A process that has neither pandas nor matplotlib, which others may have brought along."""
    code = (
        "import sys; sys.modules.update(pandas=None, matplotlib=None); import ecco_captum\n"
        f"record = ecco_captum.load_record({str(path)!r})\n"
        "for use in (record.to_pandas, record.plot):\n"
        "    try: use()\n"
        "    except ImportError as error: print(error)"
    )
    said = run(sys.executable, "-I", "-c", code).splitlines()
    for extra, line in zip(("data", "plot"), said, strict=True):
        check(f"ecco-captum[{extra}]" in line, f"without what {extra} installs, it says {line!r}")


def the_treebank_is_in_the_wheel() -> None:
    import ecco_captum as ec

    check(ec.read_conllu().words > 1000, "the package's own treebank is not whole")


def main() -> int:
    step = ""
    firsts = (the_command_has_the_version, the_import_is_light_and_of_the_wheel)
    try:
        for first in (*firsts, the_treebank_is_in_the_wheel):
            step = first.__name__
            first()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for build in (tiny_gpt2, tiny_llama):
                step = build.__name__
                kept_and_shown(every_analysis(build, folder), folder)
            step = without_tables_and_figures.__name__
            without_tables_and_figures(folder / "Rankings.npz")
    except Exception as error:
        traceback.print_exc()
        print(f"smoke: {step}: {error}", file=sys.stderr)
        return 1
    versions = " ".join(f"{name} {metadata.version(name)}" for name in SHOWN)
    own = metadata.version("ecco-captum")
    print(f"ecco-captum {own} works: Python {platform.python_version()}, {versions}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
