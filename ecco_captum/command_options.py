r"""The options of each command."""

from __future__ import annotations

import argparse
from pathlib import Path

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
