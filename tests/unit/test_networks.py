"""Small models of every measured architecture: shapes of their phases, caches put back, weights that are numbers."""

from dataclasses import replace

import pytest
import torch
import transformers
from doubles import CONFIGS, quick_torch, write_config

from perfkit.errors import InvalidSpec, InvalidValue
from perfkit.measuring.cases import PhaseCase
from perfkit.measuring.cpu import CpuBackend
from perfkit.measuring.launches import count_launches
from perfkit.measuring.networks import BLOCK, DEVIATION, MEASURED_FAMILIES, Network, check_family, own_code_only
from perfkit.models import COUNTED_CLASSES, load_model

VISUAL, TEXT, BATCH = 4, 5, 2


class Backend(CpuBackend):
    """A CPU that takes a step for its own graph, so that the static cache runs."""

    runtimes = ("eager", "graph")

    def capture(self, step):
        for _ in range(3):  # warm calls, as on a GPU
            step.before()
            step.call()
        return step


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Each small model once."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def network(family):
        if family not in made:
            made[family] = Network(load_model(write_config(folder, family)), Backend(), "fp32")
        return made[family]

    return network


@pytest.fixture(autouse=True, scope="module")
def quick():
    with quick_torch():
        yield


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


def case(network, phase, runtime="eager", attention="sdpa", **changes):
    visual = VISUAL if network.spec.vision else 0
    text = 0 if phase in ("vision", "projector") else TEXT
    attention = None if phase == "projector" else attention
    return PhaseCase(network.spec.name, phase, visual, text, BATCH, "fp32", attention, runtime)._replace(**changes)


def run(step):
    if step.before:
        step.before()
    return step.call()


def caches(monkeypatch):
    """Caches of the steps made from now on."""
    made = []

    fill = Network._filled

    def remember(self, *arguments):
        made.append(fill(self, *arguments))
        return made[-1]

    monkeypatch.setattr(Network, "_filled", remember)
    return made


every_family = pytest.mark.parametrize("family", MEASURED_FAMILIES)


def test_every_measured_family_has_a_small_model():
    assert set(CONFIGS) == set(MEASURED_FAMILIES)


# --- phases


def test_vision_makes_features_of_all_patches(models):
    network = models("llava")
    for attention in ("sdpa", "eager"):
        # (batch, (28 / 14)^2 patches without the class token, width of the tower)
        assert run(network.step(case(network, "vision", attention=attention))).shape == (2, 4, 16)
    assert network.module.config.vision_config._attn_implementation == "eager"


def test_vision_takes_the_features_of_the_configured_layer(models):
    network = models("llava")
    pixels = []
    tower = network.module.model.vision_tower
    handle = tower.register_forward_pre_hook(lambda _, args: pixels.append(args[0]))
    found = run(network.step(case(network, "vision")))
    handle.remove()
    assert pixels[0].shape == (BATCH, 3, 28, 28)
    layer = tower(pixels[0], output_hidden_states=True).hidden_states[-2]  # LLaVA-1.5's default
    assert torch.equal(found, layer[:, 1:])


@pytest.mark.parametrize("tokens", [4, 1])
def test_the_projector_takes_as_many_tokens_as_are_kept(models, tokens):
    network = models("llava")
    assert run(network.step(case(network, "projector", visual_tokens=tokens))).shape == (2, tokens, 32)


@every_family
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_prefill_makes_the_last_logits_and_a_cache_of_the_prompt(models, family, attention):
    network = models(family)
    asked = case(network, "prefill", attention=attention)
    found = run(network.step(asked))
    assert found.logits.shape == (BATCH, 1, 50)
    assert found.past_key_values.get_seq_length() == asked.visual_tokens + TEXT
    assert not found.logits.isnan().any()
    assert run(network.step(asked)).past_key_values is not found.past_key_values


@every_family
@pytest.mark.parametrize("runtime", ["eager", "graph"])
def test_decode_leaves_the_cache_as_it_was(models, family, runtime, monkeypatch):
    network, made = models(family), caches(monkeypatch)
    asked = case(network, "decode", runtime)
    step = network.step(asked)
    (cache,) = made
    prompt = asked.visual_tokens + TEXT
    before = [(layer.keys[..., :prompt, :].clone(), layer.values[..., :prompt, :].clone()) for layer in cache.layers]
    first = run(step)
    assert first.shape == (BATCH, 1, 50)
    assert int(cache.get_seq_length()) == prompt + 1
    again = [run(step) for _ in range(3)]
    assert int(cache.get_seq_length()) == prompt + 1  # 4 calls, and always one more than the prompt
    assert all(torch.equal(first, other) for other in again)
    step.before()
    assert int(cache.get_seq_length()) == prompt
    step.before()  # twice is as once
    assert int(cache.get_seq_length()) == prompt
    for layer, (keys, values) in zip(cache.layers, before, strict=True):
        assert torch.equal(layer.keys[..., :prompt, :], keys)
        assert torch.equal(layer.values[..., :prompt, :], values)
        assert keys.shape[0] == BATCH


@every_family
def test_decode_over_a_static_cache_computes_what_eager_decode_does(models, family):
    network = models(family)
    found = []
    for runtime in ("eager", "graph"):
        torch.manual_seed(7)  # the same keys and values
        found.append(run(network.step(case(network, "decode", runtime))))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    torch.manual_seed(8)
    other = run(network.step(case(network, "decode")))
    assert not torch.allclose(found[0], other, rtol=1e-3, atol=1e-5)  # the cache does count


@every_family
def test_a_static_cache_that_is_one_token_off_would_be_seen(models, family, monkeypatch):
    network, made = models(family), caches(monkeypatch)
    step = network.step(case(network, "decode", "graph"))
    right = run(step)
    step.before()
    for layer in made[0].layers:
        layer.cumulative_length.sub_(1)
    assert not torch.allclose(right, step.call(), rtol=1e-3, atol=1e-4)


@every_family
def test_a_growing_cache_is_put_back_whole(models, family, monkeypatch):
    network, made = models(family), caches(monkeypatch)
    step = network.step(case(network, "decode"))
    prompt = [layer.keys for layer in made[0].layers]
    run(step)
    step.before()
    # The very tensors: a view of what the step made would be slower to go on from.
    assert all(layer.keys is keys for layer, keys in zip(made[0].layers, prompt, strict=True))
    assert all(keys.is_contiguous() for keys in prompt)


def test_scales_of_norms_are_one_and_other_weights_are_not(models):
    for name, parameter in models("llama").module.named_parameters():
        assert bool((parameter == 1).all()) is ("norm" in name), name


def test_the_cache_is_of_the_key_heads_alone(models, monkeypatch):
    network, made = models("llama"), caches(monkeypatch)
    network.step(case(network, "decode"))
    assert made[0].layers[0].keys.shape == (BATCH, 2, TEXT, 8)  # 2 of 4 heads, 32 / 4 wide
    assert len(made[0].layers) == 3


def test_a_model_without_a_tower_has_no_vision(models):
    network = models("llama")
    with pytest.raises((InvalidValue, AttributeError)):
        network.step(case(network, "vision", visual_tokens=4))


# --- building


@every_family
def test_weights_are_as_many_as_counted_and_numbers(models, family):
    network = models(family)
    assert sum(p.numel() for p in network.module.parameters()) == network.spec.parameters
    for name, weight in network.module.named_parameters():
        assert bool(weight.isfinite().all()), name
        assert int((weight == 0).sum()) == 0, name
        if weight.numel() > 500:
            assert weight.std() == pytest.approx(DEVIATION, rel=0.2), name
    assert not network.module.training


@every_family
def test_buffers_are_those_of_a_model_built_as_usual(models, family):
    network = models(family)
    plain = getattr(transformers, COUNTED_CLASSES[family])._from_config(network.module.config)
    mine, usual = dict(network.module.named_buffers()), dict(plain.named_buffers())
    assert mine.keys() == usual.keys()
    assert all(torch.equal(mine[name], usual[name]) for name in usual)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("tf32", torch.float32)]
)
def test_weights_are_stored_in_the_precision(precision, dtype, tmp_path):
    network = Network(load_model(write_config(tmp_path)), Backend(), precision)
    assert {p.dtype for p in network.module.parameters()} == {dtype}
    features = run(network.step(case(network, "projector", precision=precision)))
    assert features.dtype == dtype


def test_building_draws_one_block_and_leaves_the_generator_alone(tmp_path, monkeypatch):
    drawn, normal = [], torch.Tensor.normal_

    def count(tensor, *arguments, **options):
        drawn.append(tensor.numel())
        return normal(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "normal_", count)
    before = torch.get_rng_state()
    # 50,000 x 128 = 6.4 million in the embedding alone, more than a block
    config = {**CONFIGS["llama"], "hidden_size": 128, "vocab_size": 50_000}
    network = Network(load_model(write_config(tmp_path, **{"family": "llama", **config})), Backend(), "fp32")
    assert drawn == [BLOCK]
    assert torch.equal(torch.get_rng_state(), before)
    flat = network.module.get_input_embeddings().weight.flatten()
    assert torch.equal(flat[BLOCK:], flat[: flat.numel() - BLOCK])  # the block again


def test_two_models_have_the_same_weights(tmp_path):
    first, second = (Network(load_model(write_config(tmp_path)), Backend(), "fp32").module for _ in range(2))
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_model_that_hugging_face_builds_otherwise_is_refused(tmp_path):
    spec = load_model(write_config(tmp_path, "llama"))
    other = write_config(tmp_path, "qwen2")
    with pytest.raises(InvalidSpec, match=r"qwen2\.json: Hugging Face builds [\d,]+ parameters, perfkit counts"):
        Network(replace(spec, name=other, family="qwen2"), Backend(), "fp32")


@pytest.mark.parametrize("model", ["bert-base", "clip-vit-l-14-336", "siglip-so400m", "llava-next-7b", "mixtral-8x7b"])
def test_models_whose_phases_are_not_known_are_refused(model):
    with pytest.raises(InvalidValue) as caught:
        check_family(load_model(model))
    assert str(caught.value).startswith(f"{model} is a ")
    assert "; measured are LlavaForConditionalGeneration, GPT2LMHeadModel, LlamaForCausalLM" in str(caught.value)


def test_features_of_several_layers_are_refused(tmp_path):
    path = write_config(tmp_path, vision_feature_layer=[-2, -1])
    spec = replace(load_model(write_config(tmp_path, "llama")), name=path, family="llava")
    with pytest.raises(InvalidValue, match="takes features of several layers; measured are models that take one"):
        check_family(spec)


# --- launches


@pytest.mark.parametrize("inference", [True, False])
def test_launches_of_a_known_module(inference):
    with torch.inference_mode(inference):
        x, weight = torch.ones(2, 4), torch.ones(8, 4)

        def call():
            y = torch.nn.functional.linear(x, weight)  # mm: 1; its transposed weight is a view
            y = torch.relu(y).view(16).reshape(4, 4)[1:]  # relu: 1
            y = y.to(torch.float32).contiguous()  # neither changes anything: 0
            y = y.to(torch.bfloat16)  # a copy: 1
            y = y.transpose(0, 1).contiguous()  # a copy: 1
            torch.empty(3)  # 0
            return y.add_(1) + 1  # 2

        assert count_launches(call) == 6


def test_a_call_is_made_once_to_be_counted():
    calls = []
    assert count_launches(lambda: calls.append(1)) == 0
    assert calls == [1]


def test_every_layer_launches_as_much_as_the_others(models, tmp_path):
    network = models("llama")
    one_less = Network(load_model(write_config(tmp_path, "llama", num_hidden_layers=2)), Backend(), "fp32")
    two_less = Network(load_model(write_config(tmp_path, "llama", num_hidden_layers=1)), Backend(), "fp32")
    three, two, one = (
        count_launches(other.step(case(other, "prefill")).call) for other in (network, one_less, two_less)
    )
    # 7 products, 2 adds, silu and its product, attention, and for each norm and the rotation several more
    assert three - two == two - one > 12


def test_a_configuration_cannot_name_attention_to_be_fetched():
    # Hugging Face would load such a kernel from its hub and run it.
    named = {"_attn_implementation": "someone/kernel", "attn_implementation": "someone/kernel"}
    values = {"model_type": "llava", **named, "vision_config": {"hidden_size": 64, **named}}
    assert own_code_only(values) == {"model_type": "llava", "vision_config": {"hidden_size": 64}}
