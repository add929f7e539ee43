"""A trace tells what ran and what feeds what, on small modules whose answer is known."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from ecco_captum.models.anatomy.tracing import (
    Lineage,
    LinearMap,
    Trace,
    combine,
    factors,
    trace,
    written,
)
from ecco_captum.models.interventions import all_tensors
from ecco_captum.testing import model_state

BATCH, LENGTH, WIDTH = 3, 5, 8

masks, flags = st.integers(0, 63), st.booleans()
lineages = st.builds(Lineage, masks, masks, masks, flags, flags, flags).map(
    lambda one: one._replace(bent=one.bent & one.linears, ancestors=one.ancestors | one.linears)
)


class Reader(nn.Module):
    """Looks ids up and passes them on to a body."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, WIDTH)
        self.body = body

    def forward(self, input_ids: Tensor) -> Any:
        return self.body(self.embed(input_ids))


def watch(body: nn.Module) -> Trace:
    ids = torch.arange(BATCH * LENGTH).reshape(BATCH, LENGTH)
    return trace(Reader(body), {"input_ids": ids})


def map_of(watched: Trace, module: str) -> LinearMap:
    found = [one for one in watched.linears if watched.executions[one.execution].module == module]
    assert len(found) == 1
    return found[0]


class FeedForward(nn.Module):
    """A gated feed-forward layer with its residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(WIDTH, 12), nn.Linear(WIDTH, 12, bias=False)
        self.down = nn.Linear(12, WIDTH)

    def forward(self, hidden: Tensor) -> Any:
        # Constants made on the way must not inherit what was at their address before.
        scale = torch.tensor([1.0] * WIDTH)
        return hidden + scale * self.down(functional.silu(self.gate(hidden)) * self.up(hidden))


def test_feed_forward_feeds_the_down_projection_and_writes_to_the_stream() -> None:
    for _ in range(20):  # Memory is handed out anew each time.
        watched = watch(FeedForward())
        gate, up, down = watched.linears
        assert (gate.in_width, gate.out_width, down.in_width, down.out_width) == (8, 12, 12, 8)
        assert gate.inputs.residual
        assert gate.inputs.linears == up.inputs.linears == 0
        assert down.inputs.linears == 0b011
        assert down.inputs.bent == 0b001
        assert down.inputs.activated
        assert not down.inputs.residual
        assert not down.inputs.mixed
        assert watched.writers == 0b100
        assert all(one.is_module and one.pointwise and not one.stacked for one in watched.linears)


class Attention(nn.Module):
    """Attention by scaled dot products or written out."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden: Tensor) -> Any:
        query, key, value = self.qkv(hidden).chunk(3, dim=-1)
        if self.fused:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        else:
            mixed = (query @ key.mT).softmax(dim=-1) @ value
        return hidden + self.out(functional.gelu(mixed))


@pytest.mark.parametrize("fused", [True, False])
def test_attention_mixes_tokens(fused: bool) -> None:
    watched = watch(Attention(fused))
    out = map_of(watched, "body.out")
    assert out.inputs.mixed
    assert out.inputs.activated
    assert watched.writers == 0b10


@pytest.mark.parametrize(("kernel", "pointwise"), [(1, True), (3, False)])
def test_convolution_over_tokens_mixes_them(kernel: int, pointwise: bool) -> None:
    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(WIDTH, 12, kernel, padding=kernel // 2)
            self.down = nn.Linear(12, WIDTH)

        def forward(self, hidden: Tensor) -> Any:
            return self.down(self.conv(hidden.mT).mT)

    watched = watch(Convolution())
    conv, down = watched.linears
    assert (conv.in_width, conv.out_width, conv.channels) == (WIDTH, 12, 1)
    assert conv.pointwise == pointwise
    assert down.inputs.mixed == (not pointwise)


def test_in_place_operations_and_written_slices_are_followed() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(WIDTH, 12), nn.Linear(24, WIDTH)

        def forward(self, hidden: Tensor) -> Any:
            up = self.up(hidden)
            up.relu_()
            buffer = up.new_zeros(BATCH, LENGTH, 24)
            buffer[..., 12:] = up
            hidden += self.down(buffer)
            return hidden

    watched = watch(InPlace())
    assert watched.linears[1].inputs.linears == 0b01
    assert watched.linears[1].inputs.activated
    assert not watched.linears[1].inputs.residual
    assert watched.writers == 0b10


def test_weights_in_one_tensor_are_stacked_and_no_module() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.randn(4, WIDTH, WIDTH))

        def forward(self, hidden: Tensor) -> Any:
            rows = hidden.reshape(1, -1, WIDTH).expand(4, -1, -1) * 2
            return torch.bmm(rows, self.weights)

    (linear,) = watch(Experts()).linears
    assert linear.stacked
    assert not linear.is_module


def test_executions_are_counted_nested_and_placed_in_their_list() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([FeedForward()])

        def forward(self, hidden: Tensor) -> Any:
            for _ in range(3):
                hidden = self.layers[0].forward(hidden)  # No hook would see this.
            return hidden, None

    watched = watch(Loop())
    runs = [one for one in watched.executions if one.module == "body.layers.0"]
    assert [one.call for one in runs] == [0, 1, 2]
    assert {one.container for one in runs} == {"body.layers"}
    assert [(one.first_linear, one.last_linear) for one in runs] == [(0, 3), (3, 6), (6, 9)]
    loop = next(one for one in watched.executions if one.module == "body")
    assert {one.parent for one in runs} == {loop.index}
    assert (loop.returns, runs[0].returns) == (2, 0)
    assert runs[0].input_shape == runs[0].output_shape == (BATCH, LENGTH, WIDTH)
    down = next(one for one in watched.executions if one.module == "body.layers.0.down")
    assert [watched.executions[index].module for index in watched.enclosing(down.index)] == [
        "body.layers.0.down",
        "body.layers.0",
        "body",
        "",
    ]


@pytest.mark.parametrize(
    ("change", "reads", "offset"),
    [
        (lambda ids: ids, "input_ids", 0),
        (lambda ids: ids.clone(), "input_ids", 0),
        (lambda ids: ids.T, "input_ids", 0),
        (lambda ids: functional.pad(ids, (0, 3)), "input_ids", 0),
        (lambda ids: functional.pad(ids, (2, 0)), "input_ids", 2),
        (lambda ids: torch.arange(LENGTH).expand(BATCH, -1), None, 0),
        (lambda ids: ids + 1, None, 0),
    ],
    ids=["as given", "copied", "time first", "padded", "prefixed", "positions", "other ids"],
)
def test_lookup_tells_which_ids_it_reads(change: Any, reads: str | None, offset: int) -> None:
    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(20, WIDTH)

        def forward(self, input_ids: Tensor) -> Any:
            return self.embed(change(input_ids))

    ids = torch.arange(BATCH * LENGTH).reshape(BATCH, LENGTH)
    watched = trace(Lookup(), {"input_ids": ids})
    (lookup,) = watched.lookups
    assert (lookup.reads, lookup.offset) == (reads, offset)
    assert watched.executions[lookup.execution].module == "embed"


@pytest.mark.parametrize("failure", [None, RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_behind(failure: type[BaseException] | None) -> None:
    model = tiny_models.build("causal", "llama")
    inputs = tiny_models.example_inputs(model)
    random = torch.get_rng_state()

    def fail(*_: object) -> None:
        if failure is not None:
            raise failure("while the model runs")

    model.model.layers[1].mlp.act_fn.register_forward_hook(fail)
    before = model_state(model)
    if failure is None:
        watched = trace(model, inputs)
        assert not any(tensor.requires_grad for tensor in all_tensors(watched.outputs))
    else:
        with pytest.raises(failure):
            trace(model, inputs)
    assert model_state(model) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None


def test_traced_outputs_are_the_models_own() -> None:
    model = tiny_models.build("causal", "mixtral")
    inputs = tiny_models.example_inputs(model)
    with torch.no_grad():
        assert torch.equal(trace(model, inputs).outputs.logits, model(**inputs).logits)


@given(lineages, lineages, lineages)
def test_union_of_lineages_is_a_union(a: Lineage, b: Lineage, c: Lineage) -> None:
    assert a | b == b | a
    assert (a | b) | c == a | (b | c)
    assert a | a == a | Lineage() == a


@given(st.lists(st.one_of(st.none(), lineages)), st.sampled_from(["add", "mul", "relu", "softmax"]))
def test_combined_lineage_forgets_nothing(given_: list[Lineage | None], operation: str) -> None:
    known = [one for one in given_ if one is not None]
    combined = combine(operation, given_)
    if not known:
        assert combined is None
        return
    assert combined is not None
    assert combined | reduce(Lineage.__or__, known) == combined


def test_residual_connections_are_told_from_other_sums() -> None:
    stream = Lineage(linears=0b001, ancestors=0b001)
    branch = Lineage(linears=0b010, ancestors=0b011)
    parallel = Lineage(linears=0b100, ancestors=0b101)
    assert written("add", [stream, branch]) == 0b010
    assert written("mul", [stream, branch]) == 0
    assert written("add", [branch, parallel]) == 0, "neither was computed from the other"
    assert written("add", [stream, branch | parallel]) == 0b110
    assert written("add", [stream, branch._replace(bent=0b010)]) == 0
    assert written("add", [stream, None]) == 0


@pytest.mark.parametrize(
    ("operation", "places"),
    [("mm", (0, 1)), ("bmm", (0, 1)), ("addmm", (1, 2)), ("baddbmm", (1, 2)), ("add", None)],
)
def test_factors_of_products(operation: str, places: tuple[int, int] | None) -> None:
    assert factors(operation) == places
