r"""What the commands do: load a model, run one analysis, write its report and tell of it."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from ecco_captum.cli.output import (
    shown,
    tell_probes,
    tell_rankings,
    tell_report,
    tell_saliency,
    tell_similarity,
)

_FIGURES = (".pdf", ".svg", ".png")


def models(options: argparse.Namespace) -> int:
    """Lists the models that need no hub."""
    from ecco_captum.models.bundled import offline_models

    print(f"{'NAME':14}{'SIZE':>7}  {'LICENCE':12}{'HERE':6}MODEL")
    for model in offline_models():
        here = "yes" if model.cached else "no"
        print(f"{model.name:14}{model.megabytes:>4} MB  {model.licence:12}{here:6}{model.title}")
        print(f"{'':41}{model.kind}")
    print(
        "\nFetched once, at first use. Any model of the Hugging Face hub works as well, by its id."
    )
    return 0


def saliency(options: argparse.Namespace) -> int:
    """Generates, attributes every output, and writes the report."""
    _check_paths(options)
    prompt = _prompt(options)

    from ecco_captum.attribution.faithfulness.measure import faithfulness
    from ecco_captum.attribution.methods.catalogue import get_method
    from ecco_captum.attribution.saliency import saliency
    from ecco_captum.generation.scores import as_score

    get_method(options.method), as_score(options.score)  # before the model is loaded
    lm = _loaded(options)
    generation = _generation(lm, prompt, options)
    chosen = ("method", "score", "versus", "aggregate", "outputs")
    attribution = saliency(lm, generation, **{name: getattr(options, name) for name in chosen})
    tested = faithfulness(lm, attribution) if options.faithfulness else None
    attribution.to_html(options.output, faithfulness=tested)
    if options.save is not None:
        attribution.save(options.save)
    tell_saliency(attribution)
    if tested is not None:
        print(f"\n{tested}")
    print(f"\nReport: {options.output.absolute()}")
    return 0


def report(options: argparse.Namespace) -> int:
    """Makes every analysis of one text, and writes them as one page."""
    _check_paths(options)
    prompt = _prompt(options)

    from ecco_captum.attribution.methods.catalogue import get_method
    from ecco_captum.probing.treebank import read_conllu
    from ecco_captum.report.make import report

    get_method(options.method)  # before the model is loaded
    corpus = read_conllu(options.conllu)
    corpus.labels(options.label)
    lm = _loaded(options)
    found = report(
        lm,
        _generation(lm, prompt, options),
        method=options.method,
        n_components=options.components,
        corpus=corpus,
        label=options.label,
    )
    tell_report(found)
    _write(found, options)
    return 0


def rankings(options: argparse.Namespace) -> int:
    """Generates, ranks every output by every layer, and writes what was asked for."""
    _check_paths(options)
    prompt = _prompt(options)

    from ecco_captum.lens.rankings import rankings

    lm = _loaded(options)
    generation = _generation(lm, prompt, options)
    chosen = ("layers", "lens", "value", "positions", "control")
    found = rankings(lm, generation, **{name: getattr(options, name) for name in chosen})
    print(f"{found.subtitle}\n")
    print(f"{generation.prompt}[{generation.text}]\n")
    tell_rankings(found)
    print(f"\n{found.sentence}")
    _write(found, options)
    return 0


def watch(options: argparse.Namespace) -> int:
    """Ranks the watched tokens by every layer, and writes what was asked for."""
    _check_paths(options)
    prompt = _prompt(options)
    if not options.words and not options.id:
        raise ValueError("WORD: got none, accepts at least one token to watch")

    from ecco_captum.lens.watch import rankings_watch

    chosen = ("position", "layers", "lens")
    found = rankings_watch(
        _loaded(options),
        prompt,
        [*options.words, *options.id],
        **{name: getattr(options, name) for name in chosen},
    )
    names = [shown(text) for text in found.watch_texts]
    widths = [max(7, len(name)) for name in names]
    print(f"{found.subtitle}\n")
    print("  ".join([f"{'LAYER':>10}", *map(str.rjust, names, widths), "TOP TOKEN"]))
    rows = zip(found.layer_names, found.ranks, found.top_ids, strict=True)
    for layer, ranks, top in rows:
        cells = [f"{rank:>{width}}" for rank, width in zip(ranks, widths, strict=True)]
        print("  ".join([f"{layer:>10}", *cells, shown(found.texts[str(top)])]))
    print(f"\n{found.sentence}")
    _write(found, options)
    return 0


def factors(options: argparse.Namespace) -> int:
    """Factorises the neurons over the prompt, tests what was asked for, and writes it."""
    _check_paths(options)
    prompt = _prompt(options)

    from ecco_captum.activations.neurons import neurons
    from ecco_captum.factors.nmf import nmf

    lm = _loaded(options)
    read = neurons(lm, prompt, layers=options.layers)
    found = nmf(read, options.components, negatives=options.negatives)
    stability = found.stability(options.stability) if options.stability else None
    effects = [found.effect(lm, prompt, component) for component in options.effect]
    print(f"{found.subtitle}\n")
    print(f"{'FACTOR':>6} {'EXPLAINS':>9}  TOP TOKENS")
    for k, share in enumerate(found.explained()):
        words = "  ".join(shown(text) for _, text, _ in found.top_tokens(k, 8))
        print(f"{k:>6} {share:>9.1%}  {words}")
    print("\n".join(["", found.sentence, *(effect.sentence for effect in effects)]))
    if options.save is not None:
        found.save(options.save)
    if options.plot is not None:
        found.plot().savefig(options.plot)
        print(f"\nFigure: {options.plot.absolute()}")
    if options.output is not None:
        found.to_html(options.output, effects=effects, stability=stability)
        print(f"\nReport: {options.output.absolute()}")
    return 0


def similarity(options: argparse.Namespace) -> int:
    """Compares layers over the texts of a file, and writes what was asked for."""
    _check_paths(options)
    lines = options.text_file.read_text(encoding="utf-8").splitlines()
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise ValueError(f"--text-file: {str(options.text_file)!r} is empty, accepts some lines")

    from ecco_captum.activations.neurons import hidden_states, neurons
    from ecco_captum.similarity.compare import compare

    kinds = {"hidden": [hidden_states], "neurons": [neurons], "both": [hidden_states, neurons]}

    def read(model: str) -> list[Any]:
        lm = _loaded(options, model)
        chosen = kinds[options.representations]
        return [states(lm, texts, layers=options.layers) for states in chosen]

    found = compare(
        read(options.model),
        None if options.other_model is None else read(options.other_model),
        measure=options.measure,
        n_permutations=options.permutations,
        bootstrap=options.bootstrap,
        seed=options.seed,
    )
    print(f"{found.subtitle}\n")
    tell_similarity(found)
    print(f"\n{found.sentence}")
    _write(found, options)
    return 0


def probe(options: argparse.Namespace) -> int:
    """Probes the layers for the labels of a treebank, and writes what was asked for."""
    _check_paths(options)

    from ecco_captum.probing.probe import probe
    from ecco_captum.probing.treebank import read_conllu

    corpus = read_conllu(options.conllu)
    corpus.labels(options.label)  # before the model is loaded
    kinds = {"both": ("hidden", "neurons")}
    chosen = (
        *("label", "layers", "trials", "epochs", "control", "split", "seed"),
        *("codelength", "checkpoint"),
    )
    found = probe(
        _loaded(options),
        corpus,
        representations=kinds.get(options.representations, (options.representations,)),
        n_tokens=options.tokens,
        **{name: getattr(options, name) for name in chosen},
    )
    print(f"{found.subtitle}\n")
    tell_probes(found)
    print(f"\n{found.sentence}")
    _write(found, options)
    return 0


def _loaded(options: argparse.Namespace, model: str | None = None) -> Any:
    from ecco_captum.models.language_model import load

    if not sys.stderr.isatty():
        from transformers.utils import logging

        logging.disable_progress_bar()
    kwargs = {} if options.dtype is None else {"dtype": options.dtype}
    return load(model or options.model, trust_remote_code=options.trust_remote_code, **kwargs)


def _generation(lm: Any, prompt: str, options: argparse.Namespace) -> Any:
    """What the model writes, fills in, or calls the prompt; or the continuation given."""
    from ecco_captum.generation.generate import force_decode, generate

    if options.continuation is not None:
        return force_decode(lm, prompt, options.continuation)
    if not lm.model.can_generate():
        return generate(lm, prompt)
    sampling = {} if options.seed is None else {"do_sample": True, "seed": options.seed}
    return generate(lm, prompt, max_new_tokens=options.max_new_tokens, **sampling)


def _check_paths(options: argparse.Namespace) -> None:
    """Before anything is computed that could then not be written."""
    named: dict[Path, str] = {}
    for name in ("output", "save", "plot"):
        path = getattr(options, name, None)
        if path is None:
            continue
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"--{name}: there is no folder {str(path.absolute().parent)!r}")
        if path.is_dir():
            raise IsADirectoryError(f"--{name}: {str(path)!r} is a folder, accepts a file")
        other = named.setdefault(path.absolute(), name)
        if other != name:
            raise ValueError(f"--{name}: {str(path)!r} is where --{other} goes; name another file")
    if getattr(options, "plot", None) is not None:
        if options.plot.suffix not in _FIGURES:
            accepted = ", ".join(_FIGURES)
            raise ValueError(f"--plot: got {str(options.plot)!r}, accepts a name with {accepted}")
        if importlib.util.find_spec("matplotlib") is None:
            raise ValueError("--plot: needs matplotlib: pip install 'ecco-captum[plot]'")


def _write(found: Any, options: argparse.Namespace) -> None:
    """The report, the record and the figure, those of them that were asked for."""
    if options.save is not None:
        found.save(options.save)
    if getattr(options, "plot", None) is not None:
        found.plot().savefig(options.plot)
        print(f"\nFigure: {options.plot.absolute()}")
    if options.output is not None:
        found.to_html(options.output)
        print(f"\nReport: {options.output.absolute()}")


def _prompt(options: argparse.Namespace) -> str:
    if options.prompt_file is not None:
        return str(options.prompt_file.read_text(encoding="utf-8"))
    return sys.stdin.read() if options.prompt == "-" else str(options.prompt)


DEMO_MODEL = "smollm2-135m"

_MODEL = "hub id, local directory, .gguf file or offline name"
_REPORT = "the HTML report to write"
_FIGURE = "also write the figure (.pdf, .svg, .png)"


def _add_text_options(
    parser: argparse.ArgumentParser, *, model: str | None, writes: bool = True
) -> None:
    """What every analysis reads, and where its results go; without a default model, both named."""
    add = parser.add_argument
    add("--model", required=model is None, default=model, help=_MODEL)
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", help="the prompt; '-' reads it from standard input")
    prompt.add_argument(
        "--prompt-file", type=Path, metavar="FILE", help="read the prompt from here"
    )
    add("-o", "--output", type=Path, required=model is None, metavar="FILE", help=_REPORT)
    if writes:
        add("--max-new-tokens", type=int, default=32, metavar="N", help="how many tokens to write")
        add("--continuation", metavar="TEXT", help="read this text instead of letting it write")
        add("--seed", type=int, help="sample with this seed instead of decoding greedily")
    _add_common_options(parser)


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    """How a model is loaded, and where the record goes."""
    add = parser.add_argument
    add("--dtype", help="load the weights as float32, bfloat16 or float16")
    add("--save", type=Path, metavar="FILE", help="also save the record (.npz), for load_record()")
    add("--trust-remote-code", action="store_true", help="let the checkpoint's own code run")


def add_saliency_options(parser: argparse.ArgumentParser) -> None:
    """Of ``ecco-captum saliency``."""
    _add_text_options(parser, model=None)
    add = parser.add_argument
    add("--method", default="input_x_gradient", help="the attribution method, such as ig, attn_lrp")
    add("--score", default="logit", help="what is explained: logit, logprob, prob or entropy")
    add("--versus", action="append", metavar="TOKEN", help="contrast with this; may be repeated")
    add("--aggregate", help="l2, sum, l1 or max_abs over the embedding (default: the method's own)")
    add("--outputs", type=_slice, metavar="START:END", help="explain these outputs only")
    add("--faithfulness", action="store_true", help="test it: remove the salient tokens")


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Of ``ecco-captum report``."""
    _add_text_options(parser, model=None)
    add = parser.add_argument
    add("--method", default="input_x_gradient", help="the attribution method, such as ig, attn_lrp")
    add("--components", type=int, default=6, metavar="N", help="how many factors, at most")
    own = "what probes learn from, in CoNLL-U (default: the package's own small treebank)"
    add("--conllu", type=Path, metavar="FILE", help=own)
    add("--label", default="upos", help="the column that is told: upos, xpos, deprel, a feature")


def _add_lens_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--layers",
        type=_slice,
        metavar="START:END",
        help="0 is the embedding, 1 block 0; --layers=-3: the last 3",
    )
    add("--lens", type=Path, metavar="FOLDER", help="a tuned lens instead of the logit lens")
    add("--plot", type=Path, metavar="FILE", help=_FIGURE)


def add_rankings_options(parser: argparse.ArgumentParser) -> None:
    """Of ``ecco-captum rankings``."""
    _add_text_options(parser, model=DEMO_MODEL)
    _add_lens_options(parser)
    add = parser.add_argument
    add("--value", default="rank", choices=("rank", "logit", "prob"), help="what is shown")
    every = "outputs, or all: the prompt's tokens too"
    add("--positions", default="outputs", choices=("outputs", "all"), help=every)
    add("--no-control", dest="control", action="store_false", help="leave the shuffled model out")


def add_watch_options(parser: argparse.ArgumentParser) -> None:
    """Of ``ecco-captum watch``."""
    _add_text_options(parser, model=DEMO_MODEL, writes=False)
    _add_lens_options(parser)
    add = parser.add_argument
    add("words", nargs="*", metavar="WORD", help="tokens to watch, with their leading space")
    add("--id", type=int, action="append", default=[], metavar="N", help="watch this token id")
    position = "what follows this token of the prompt; -1 is the last"
    add("--position", type=int, default=-1, metavar="N", help=position)


def add_factors_options(parser: argparse.ArgumentParser) -> None:
    """Of ``ecco-captum factors``."""
    _add_text_options(parser, model=DEMO_MODEL, writes=False)
    add = parser.add_argument
    add("--components", type=int, default=8, metavar="N", help="how many factors")
    add("--layers", type=_slice, metavar="START:END", help="blocks, from 0 (default: all)")
    negatives = "of gated layers' negative activations"
    add("--negatives", default="split", choices=("clip", "split", "abs"), help=negatives)
    add("--stability", type=int, default=0, metavar="SEEDS", help="fit again from other starts")
    add("--effect", type=int, action="append", default=[], metavar="K", help="ablate factor K")
    add("--plot", type=Path, metavar="FILE", help=_FIGURE)


def add_similarity_options(parser: argparse.ArgumentParser) -> None:
    """Of ``ecco-captum similarity``."""
    add = parser.add_argument
    add("--model", default=DEMO_MODEL, help=_MODEL)
    add("--other-model", metavar="MODEL", help="compare with this one's layers, word by word")
    add("--text-file", type=Path, required=True, metavar="FILE", help="texts, one in each line")
    add("-o", "--output", type=Path, metavar="FILE", help=_REPORT)
    measures = ("cca", "svcca", "pwcca", "cka")
    add("--measure", default="cka", choices=measures, help="how layers are compared")
    kinds = ("hidden", "neurons", "both")
    add("--representations", default="hidden", choices=kinds, help="which states are compared")
    add("--layers", type=_slice, metavar="START:END", help="of these, from 0 (default: all)")
    add("--permutations", type=int, default=10, metavar="N", help="shufflings that make the null")
    add("--bootstrap", type=int, default=0, metavar="N", help="draws of texts, for an interval")
    add("--seed", type=int, default=0, help="of shufflings and draws")
    _add_common_options(parser)
    add("--plot", type=Path, metavar="FILE", help=_FIGURE)


def add_probe_options(parser: argparse.ArgumentParser) -> None:
    """Of ``ecco-captum probe``."""
    add = parser.add_argument
    add("--model", default=DEMO_MODEL, help=_MODEL)
    add("--conllu", type=Path, required=True, metavar="FILE", help="the treebank, in CoNLL-U")
    add("--label", default="upos", help="the column that is told: upos, xpos, deprel, a feature")
    kinds = ("hidden", "neurons", "both")
    add("--representations", default="both", choices=kinds, help="which states are probed")
    add("--layers", type=_slice, metavar="START:END", help="of these, from 0 (default: all)")
    add("--tokens", type=int, default=10_000, metavar="N", help="how many words")
    add("--trials", type=int, default=5, metavar="N", help="how often all is drawn anew")
    add("--epochs", type=int, default=50, metavar="N", help="how often words are seen")
    add("--no-control", dest="control", action="store_false", help="leave the control tasks out")
    add("--split", default="token", choices=("token", "sentence"), help="what is tested on whole")
    add("--codelength", action="store_true", help="measure the description length as well")
    done = "keep the report of each representation here, for a run that was interrupted"
    add("--checkpoint", type=Path, metavar="FOLDER", help=done)
    add("--seed", type=int, default=0, help="of all draws")
    add("-o", "--output", type=Path, metavar="FILE", help=_REPORT)
    _add_common_options(parser)
    add("--plot", type=Path, metavar="FILE", help=_FIGURE)


def _slice(text: str) -> slice:
    """Outputs as Python's slices are written."""
    parts = text.split(":")
    try:
        numbers = [int(part) if part else None for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or (len(numbers) == 1 and numbers[0] is None):
        raise argparse.ArgumentTypeError(f"got {text!r}, accepts START:END or one number")
    if len(numbers) == 1:
        start = int(numbers[0] or 0)
        return slice(start, start + 1 if start != -1 else None)
    return slice(*numbers)
