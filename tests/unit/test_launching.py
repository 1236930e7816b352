"""Kernels of eager code: their number and their bytes against what Hugging Face's own modules dispatch."""

from __future__ import annotations

from typing import Any

import pytest

from perfkit.attention import AttentionShape, eager_attention, fused_attention
from perfkit.counting import count_ops, workload_of
from perfkit.kernels.launching import launches_of
from perfkit.latency import parse_execution
from perfkit.models import read_model
from perfkit.models.config import Config
from perfkit.ops import Place, activation, add, gated_activation, kv_write, norm, rotary, softmax
from perfkit.units import Precision

BATCH, TOKENS, HIDDEN, HEADS, WIDE = 2, 96, 64, 4, 160
SIZES = {
    "llama": {
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "vocab_size": 100,
    },
    "gpt2": {
        "n_embd": HIDDEN,
        "n_head": HEADS,
        "n_inner": WIDE,
        "vocab_size": 100,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "opt": {
        "hidden_size": HIDDEN,
        "ffn_dim": WIDE,
        "num_attention_heads": HEADS,
        "vocab_size": 100,
        "word_embed_proj_dim": HIDDEN,
    },
    "bert": {"hidden_size": HIDDEN, "intermediate_size": WIDE, "num_attention_heads": HEADS, "vocab_size": 100},
    "clip_vision_model": {
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "num_attention_heads": HEADS,
        "image_size": 42,
        "patch_size": 6,
    },
}
LAYERS = {"gpt2": "n_layer"}


def config_of(family: str, layers: int) -> dict[str, Any]:
    return {"model_type": family, LAYERS.get(family, "num_hidden_layers"): layers, **SIZES[family]}


class Dispatched:
    """Operators of a call that move something, and their bytes: every tensor that comes in or goes out."""

    def __init__(self, call: Any) -> None:
        import torch
        from torch.utils._python_dispatch import TorchDispatchMode

        from perfkit.measuring.launches import FREE

        self.count, self.bytes, counter = 0, 0, self

        class Listing(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                out = function(*args, **(kwargs or {}))
                name = function.overloadpacket.__name__
                if not (function.is_view or name in FREE):
                    counter.count += 1
                    parts = [t for part in args for t in (part if isinstance(part, list | tuple) else [part])]
                    first = out[0] if isinstance(out, tuple) else out
                    moved = [t for t in (*parts, first) if isinstance(t, torch.Tensor)]
                    counter.bytes += sum(t.numel() * t.element_size() for t in moved)
                return out

        with torch.no_grad(), Listing():
            call()


def dispatched(family: str, layers: int, attention: str, precision: str) -> Dispatched:
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    config = AutoConfig.for_model(**config_of(family, layers))
    build = AutoModel if family in ("bert", "clip_vision_model") else AutoModelForCausalLM
    dtype = {"fp16": torch.float16, "fp32": torch.float32}[precision]
    model = build.from_config(config).to(dtype).eval()
    model.set_attn_implementation(attention)
    if family == "clip_vision_model":
        pixels = torch.zeros(BATCH, 3, 42, 42, dtype=dtype)
        return Dispatched(lambda: model(pixel_values=pixels))
    ids = torch.ones((BATCH, TOKENS), dtype=torch.long)
    padded = torch.ones_like(ids)
    padded[0, -1] = int(attention == "sdpa")  # a mask that hides nothing is left out
    asked = {"attention_mask": padded} if family == "bert" else {"use_cache": True}
    return Dispatched(lambda: model(input_ids=ids, **asked))


def launched(family: str, layers: int, attention: str, precision: str) -> tuple[int, float]:
    """Number and bytes of the launches that are told."""
    spec = read_model(Config(config_of(family, layers), family))
    tokens = {"tokens": spec.visual_tokens} if spec.vision else {"text_tokens": TOKENS}
    workload = workload_of(spec, batch=BATCH, **{"new_tokens": 1, "text_tokens": 1, **tokens})
    fused = "eager" if attention == "eager" else "fused"
    ops = count_ops(spec, workload, parse_execution(precision, attention=fused, logits="all"))
    found = [(op, launches_of(op, "eager")) for op in ops if op.phase in ("vision", "prefill")]
    count = sum(int(op.repeat) * len(launches) for op, launches in found)
    return count, sum(op.repeat * launch.bytes for op, launches in found for launch in launches)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", list(SIZES))
def test_launches_of_a_layer_are_those_of_its_module(family: str, attention: str, precision: str) -> None:
    # What one more layer adds, so that what runs once a forward drops out.
    three, two = (dispatched(family, layers, attention, precision) for layers in (3, 2))
    (count3, bytes3), (count2, bytes2) = (launched(family, layers, attention, precision) for layers in (3, 2))
    modules, moved = three.count - two.count, three.bytes - two.bytes
    widened = attention == "eager" and precision == "fp16"
    if widened and family not in ("gpt2", "bert"):
        # On a CPU the scores are widened in a kernel of their own; CUDA's softmax reads 16 bits and writes 32.
        tokens = TOKENS if family != "clip_vision_model" else 50  # 7 * 7 patches and the class token
        scores = BATCH * HEADS * tokens**2
        modules, moved = modules - 1, moved - scores * (2 + 4) - scores * (4 + 4) + scores * (2 + 4)
    elif widened:
        # GPT-2 and BERT leave their scores in 16 bits: a kernel less.
        modules, moved = modules + 1, moved + BATCH * HEADS * TOKENS**2 * ((2 + 4) + (4 + 2) - (2 + 2))
    if family == "opt":
        modules, moved = (
            modules - 1,
            moved - 2 * BATCH * TOKENS * HIDDEN * (4 if precision == "fp32" else 2),
        )  # q scaled
    assert count3 - count2 == modules
    assert bytes3 - bytes2 == pytest.approx(moved, rel=0.06)  # weights of norms, biases, the mask itself


def static_step(layers: int) -> Dispatched:
    """A step of Llama on a static cache of TOKENS + 1, as `perfkit measure` captures it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, StaticCache

    config = AutoConfig.for_model(**config_of("llama", layers))
    model = AutoModelForCausalLM.from_config(config).to(torch.float16).eval()
    cache = StaticCache(config=config, max_cache_len=TOKENS + 1)
    for layer in range(layers):
        cache.update(*[torch.zeros(BATCH, HEADS, TOKENS, HIDDEN // HEADS, dtype=torch.float16)] * 2, layer)
    mask = torch.zeros((BATCH, 1, 1, TOKENS + 1), dtype=torch.float16)
    ids = torch.ones((BATCH, 1), dtype=torch.long)
    return Dispatched(lambda: model(input_ids=ids, past_key_values=cache, attention_mask=mask, use_cache=True))


def captured(layers: int) -> int:
    spec = read_model(Config(config_of("llama", layers), "llama"))
    workload = workload_of(spec, batch=BATCH, text_tokens=TOKENS, new_tokens=1)
    ops = count_ops(spec, workload, parse_execution("fp16"))
    return sum(int(op.repeat) * len(launches_of(op, "captured")) for op in ops if op.phase == "decode")


def test_launches_of_a_captured_layer_are_those_of_its_module_on_a_static_cache() -> None:
    assert captured(3) - captured(2) == static_step(3).count - static_step(2).count


# --- kind by kind

FP16 = Place("prefill", 1, *[Precision.FP16] * 4)
FP32 = Place("prefill", 1, *[Precision.FP32] * 4)
DECODE = Place("decode", 1, *[Precision.FP16] * 4)


def sizes(op: Any) -> list[float]:
    return [launch.bytes for launch in launches_of(op, "eager")]


def test_a_graph_launches_every_op_as_one_kernel() -> None:
    op = norm(FP16, "input_norm", 4, 8, "rmsnorm")
    (launch,) = launches_of(op, "graph")
    assert launch.kernel == op.kernel
    assert launch.bytes == (4 * 8 * 2 + 8) * 2  # rows in and out, the scale


def test_rmsnorm_leaves_16_bits_and_comes_back() -> None:
    # 32 elements: to fp32, squared, mean of each of 4 rows (read), + epsilon, root, multiplied, to fp16, scaled
    assert sizes(norm(FP16, "n", 4, 8, "rmsnorm")) == [32 * 6, 32 * 8, 32 * 4, 4 * 8, 4 * 8, 32 * 8, 32 * 6, 32 * 4]
    assert sizes(norm(FP32, "n", 4, 8, "rmsnorm")) == [32 * 8, 32 * 4, 4 * 8, 4 * 8, 32 * 8, 32 * 8]
    assert len(sizes(norm(FP16, "n", 4, 8, "layernorm"))) == 1


def test_rotary_is_five_kernels_for_queries_and_five_for_keys() -> None:
    # Half of 4 * 16 elements each: multiply, negate half, join, multiply, add
    assert sizes(rotary(FP16, "rotary", 4, 4, 16, 8)) == [64 * tensors for tensors in (2, 1, 2, 2, 3)] * 2


def test_activations() -> None:
    assert sizes(gated_activation(FP16, "act", 2, 8, "silu")) == [16 * 2 * 2, 16 * 2 * 3]
    assert sizes(activation(FP16, "act", 2, 8, "gelu")) == [16 * 2 * 2]
    assert sum(sizes(activation(FP16, "act", 2, 8, "gelu_new"))) == 16 * 2 * 18  # six of two tensors, two of three
    assert sum(sizes(activation(FP16, "act", 2, 8, "quick_gelu"))) == 16 * 2 * 7
    assert sizes(add(FP16, "residual", 2, 8)) == [16 * 2 * 3]


def test_the_cache_is_concatenated_at_every_step() -> None:
    # 9 cached tokens of 2 heads of 8: keys read and written, values too; then the attention that reads them
    shape = AttentionShape(1, 1, 9, 2, 2, 8, cached=True)
    cache = 9 * 2 * 8 * 2
    assert sizes(fused_attention(DECODE, "attention", shape)) == [2 * cache, 2 * cache, 2 * cache + 2 * 2 * 8 * 2]
    assert sizes(kv_write(DECODE, "kv_write", 1, 16)) == []


def test_a_static_cache_is_written_in_place() -> None:
    shape = AttentionShape(1, 1, 9, 2, 2, 8, cached=True)
    (attention,) = launches_of(fused_attention(DECODE, "attention", shape), "captured")
    assert attention.bytes == 2 * 9 * 2 * 8 * 2 + 2 * 2 * 8 * 2  # keys and values; a query in, a row out
    # Its place: numbered from 0, moved behind the cache, and the length raised; then 16 keys, and 16 values
    written = launches_of(kv_write(DECODE, "kv_write", 1, 16), "captured")
    assert [launch.bytes for launch in written] == [0, 0, 0, 2 * 16 * 2, 2 * 16 * 2]


def test_eager_scores_are_scaled_masked_and_in_16_bits_narrowed() -> None:
    shape = AttentionShape(1, 6, 6, 2, 2, 8, cached=True)
    qk, normalised, pv = eager_attention(FP16, "attention", shape)
    scores, rows = 2 * 6 * 6, 2 * 6 * 8
    assert sizes(qk) == [2 * rows * 2, 2 * rows * 2, (2 * rows + scores) * 2, 2 * scores * 2, 2 * scores * 2]
    assert sizes(normalised) == [scores * 6, scores * 6]
    assert sizes(pv) == [2 * rows * 2, (scores + 2 * rows) * 2, 2 * rows * 2]
    assert sizes(softmax(FP16, "router_softmax", 6, 8)) == [2 * 48 * 2]


def test_what_does_not_run_moves_nothing() -> None:
    import numpy

    place = FP16._replace(repeat=numpy.array([0.0, 1.0]))  # at the first point of a sweep there is no image
    op = add(place, "residual", numpy.array([4.0, 4.0]), 8)
    (launch,) = launches_of(op, "graph")
    assert (op.repeat * launch.bytes).tolist() == [0.0, 192.0]


def test_what_is_broadcast_transposed_or_joined_takes_clocks_of_addressing() -> None:
    # 2 sequences of 3 tokens, 4 heads of 8: 192 elements of queries and as many of keys; clocks an element as INDEXED,
    # TRANSPOSED, JOINED and CACHED say.
    place = Place("prefill", 1, *[Precision.FP16] * 4)
    clocks = [launch.clocks for launch in launches_of(rotary(place, "rotary", 2 * 3, 3, 2 * 4 * 8, 8), "eager")]
    assert clocks == pytest.approx([192 * each for each in (0.95, 0.67 / 2, 1.2, 0.67, 0.95)] * 2)
    # RMSNorm of 6 rows of 32: widened, times the root and times the weights; square, mean and narrowing move vectors.
    clocks = [launch.clocks for launch in launches_of(norm(place, "input_norm", 6, 32, "rmsnorm"), "eager")]
    assert clocks == pytest.approx([192 * each for each in (0.67, 0, 0, 0, 0, 0.67, 0, 0.67)])


@pytest.mark.parametrize(("phase", "clocks"), [("prefill", 1.75 * 192), ("decode", 0)])
def test_a_prompt_is_joined_with_an_empty_cache_element_by_element(phase: str, clocks: float) -> None:
    place = Place(phase, 1, *[Precision.FP16] * 4)
    tokens = (3, 3) if phase == "prefill" else (1, 3)
    attention = fused_attention(place, "attention", AttentionShape(2, *tokens, 4, 4, 8, cached=True))
    assert [launch.clocks for launch in launches_of(attention, "eager")] == pytest.approx([clocks, clocks, 0])
