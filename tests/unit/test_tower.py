"""Features, queries and keys of a CLIP tower: Hugging Face's own numbers, without the work that nobody reads."""

import pytest
import torch
import transformers
from doubles import quick_torch
from torch.utils.flop_counter import FlopCounterMode

from perfkit import analyze
from perfkit.errors import InvalidValue
from perfkit.reduction.llava.tower import TowerTensors, hidden_state, run_tower

LAYERS, WIDTH, HEADS, SIDE, PATCH, INNER = 4, 64, 4, 56, 14, 96
PATCHES = (SIDE // PATCH) ** 2  # 16
POSITIONS = PATCHES + 1
IMAGES = 2
EVERY_LAYER = range(-LAYERS - 1, LAYERS + 1)


@pytest.fixture(autouse=True, scope="module")
def quick():
    with quick_torch():
        yield


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


def config(**changes):
    values = {
        "hidden_size": WIDTH,
        "image_size": SIDE,
        "patch_size": PATCH,
        "intermediate_size": INNER,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
    }
    return transformers.CLIPVisionConfig(**{**values, **changes})


@pytest.fixture(params=["eager", "sdpa"])
def tower(request):
    torch.manual_seed(0)
    made = transformers.CLIPVisionModel(config()).eval()
    made.set_attn_implementation(request.param)
    for parameter in made.parameters():
        parameter.normal_(0, 0.2)  # attention that is not flat, biases and norms that are not at rest
    return made


@pytest.fixture
def pixels():
    torch.manual_seed(1)
    return torch.randn(IMAGES, 3, SIDE, SIDE)


def outputs_of(modules, call):
    """What modules give in one call, in a list each."""
    found = {name: [] for name in modules}
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: found[name].append(output))
        for name, module in modules.items()
    ]
    call()
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("layer", EVERY_LAYER)
@pytest.mark.parametrize("keys", [True, False])
def test_features_are_hugging_faces_own(tower, pixels, layer, keys):
    expected = tower(pixels, output_hidden_states=True).hidden_states
    assert len(expected) == LAYERS + 1
    features = run_tower(tower, pixels, layer, keys=keys).features
    assert features.shape == (IMAGES, PATCHES, WIDTH)
    assert torch.equal(features, expected[layer][:, 1:])


@pytest.mark.parametrize("layer", EVERY_LAYER)
def test_query_and_keys_are_those_of_the_last_layers_attention(tower, pixels, layer):
    attention = tower.encoder.layers[-1].self_attn
    modules = {"queries": attention.q_proj, "keys": attention.k_proj}
    expected = outputs_of(modules, lambda: tower(pixels))
    found = run_tower(tower, pixels, layer)
    assert found.keys.shape == (IMAGES, POSITIONS, WIDTH)
    assert found.queries.shape == (IMAGES, 1, WIDTH)
    assert torch.equal(found.keys, expected["keys"][0])
    # One row by itself is another kernel than that row among many.
    torch.testing.assert_close(found.queries, expected["queries"][0][:, :1], rtol=1e-5, atol=1e-5)


def test_the_default_layer_is_that_of_llava(tower, pixels):
    assert transformers.LlavaConfig().vision_feature_layer == -2
    assert torch.equal(run_tower(tower, pixels).features, run_tower(tower, pixels, -2).features)
    assert not torch.equal(run_tower(tower, pixels).features, run_tower(tower, pixels, -1).features)


def test_without_keys_there_are_none(tower, pixels):
    assert run_tower(tower, pixels, keys=False)[1:] == (None, None)
    assert TowerTensors._fields == ("features", "queries", "keys")


# --- what runs


def names_of_the_last(tower):
    return {name: module for name, module in tower.encoder.layers[-1].named_modules() if name}


@pytest.mark.parametrize("layer", [-2, -3, 0])
def test_of_the_last_layer_only_its_norm_and_two_projections_run(tower, pixels, layer):
    found = outputs_of(names_of_the_last(tower), lambda: run_tower(tower, pixels, layer))
    assert {name for name, outputs in found.items() if outputs} == {
        "layer_norm1",
        "self_attn.q_proj",
        "self_attn.k_proj",
    }
    assert found["self_attn.q_proj"][0].shape == (IMAGES, 1, WIDTH)


def test_nothing_of_the_last_layer_runs_without_keys(tower, pixels):
    found = outputs_of(names_of_the_last(tower), lambda: run_tower(tower, pixels, keys=False))
    assert not any(found.values())


@pytest.mark.parametrize(("layer", "runs"), [(0, 0), (1, 1), (-2, 3), (-1, 4), (4, 4)])
def test_without_keys_as_many_layers_run_as_the_features_need(tower, pixels, layer, runs):
    layers = {str(number): each for number, each in enumerate(tower.encoder.layers)}
    found = outputs_of(layers, lambda: run_tower(tower, pixels, layer, keys=False))
    assert [len(outputs) for outputs in found.values()] == [1] * runs + [0] * (LAYERS - runs)


@pytest.mark.parametrize(("layer", "runs"), [(0, 3), (-2, 3), (-1, 4)])
def test_with_keys_all_but_the_last_layer_run_and_each_once(tower, pixels, layer, runs):
    layers = {str(number): each for number, each in enumerate(tower.encoder.layers)}
    found = outputs_of(layers, lambda: run_tower(tower, pixels, layer))
    assert [len(outputs) for outputs in found.values()] == [1] * runs + [0] * (LAYERS - runs)


# Two images, multiply-adds twice:
EMBEDDING = 2 * IMAGES * PATCHES * WIDTH * 3 * PATCH**2  # 2 * 2 * 16 * 64 * 588 = 2408448
LINEAR = 2 * IMAGES * POSITIONS * (4 * WIDTH**2 + 2 * WIDTH * INNER)  # 2 * 2 * 17 * (16384 + 12288) = 1949696
ATTENTION = 4 * IMAGES * POSITIONS**2 * WIDTH  # 4 * 2 * 289 * 64 = 147968
LAYER = LINEAR + ATTENTION
KEYS = 2 * IMAGES * POSITIONS * WIDTH**2  # 2 * 2 * 17 * 4096 = 278528
QUERY = 2 * IMAGES * WIDTH**2  # 2 * 2 * 4096 = 16384


@pytest.mark.parametrize("tower", ["eager"], indirect=True)  # torch counts fused attention on a CPU as nothing
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda tower, pixels: tower(pixels, output_hidden_states=True), EMBEDDING + 4 * LAYER),
        (run_tower, EMBEDDING + 3 * LAYER + KEYS + QUERY),
        (lambda tower, pixels: run_tower(tower, pixels, keys=False), EMBEDDING + 3 * LAYER),
        (lambda tower, pixels: run_tower(tower, pixels, 1, keys=False), EMBEDDING + LAYER),
        (lambda tower, pixels: run_tower(tower, pixels, 1), EMBEDDING + 3 * LAYER + KEYS + QUERY),
        (lambda tower, pixels: run_tower(tower, pixels, -1, keys=False), EMBEDDING + 4 * LAYER),
        (lambda tower, pixels: run_tower(tower, pixels, -1), EMBEDDING + 4 * LAYER + KEYS + QUERY),
    ],
)
def test_products_that_run_are_those_that_are_needed(tower, pixels, call, expected):
    with FlopCounterMode(display=False) as counter:
        call(tower, pixels)
    assert counter.get_total_flops() == expected


@pytest.mark.parametrize("method", ["prumerge", "spatial:n=64"])
def test_of_llavas_own_tower_runs_what_is_counted(method):
    with torch.device("meta"):
        large = config(
            hidden_size=1024, image_size=336, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=24
        )
        whole, pixels = transformers.CLIPVisionModel(large), torch.zeros(1, 3, 336, 336)
    whole.set_attn_implementation("eager")
    prediction = analyze("v100", "llava-1.5-7b", tokens=64, reduction=method)
    (vision,) = (phase for phase in prediction.phases if phase.phase == "vision")
    with FlopCounterMode(display=False) as counter:
        whole(pixels)
    assert counter.get_total_flops() == vision.matmul_flops
    with FlopCounterMode(display=False) as counter:
        run_tower(whole, pixels, keys=method == "prumerge")
    assert counter.get_total_flops() == vision.matmul_flops - prediction.skipped.matmul_flops


def test_the_tower_is_left_as_it_was(tower, pixels):
    before = set(vars(tower)), sum(len(module._forward_hooks) for module in tower.modules())
    run_tower(tower, pixels)
    assert before == (set(vars(tower)), sum(len(module._forward_hooks) for module in tower.modules()))


def test_gradients_reach_the_first_layer(pixels):
    with torch.inference_mode(False), torch.enable_grad():
        own = transformers.CLIPVisionModel(config())
        run_tower(own, pixels.clone()).keys.sum().backward()
    assert own.embeddings.patch_embedding.weight.grad.abs().sum() > 0


# --- refusals


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ([-2, -1], r"features must come from one layer, such as -2, not from \[-2, -1\]"),
        (True, "features must come from one layer, such as -2, not from True"),
        (5, r"there is no feature layer 5: 4 layers make -5 to 4 \(0: embeddings\)"),
        (-6, r"there is no feature layer -6: 4 layers make -5 to 4 \(0: embeddings\)"),
    ],
)
def test_layers_that_cannot_be_are_refused(tower, pixels, layer, said):
    with pytest.raises(InvalidValue, match=said):
        run_tower(tower, pixels, layer)


@pytest.mark.parametrize("layer", EVERY_LAYER)
def test_places_are_those_of_a_list(layer):
    assert hidden_state(layer, LAYERS) == list(range(LAYERS + 1))[layer]


def test_another_tower_is_refused(pixels):
    values = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    siglip = transformers.SiglipVisionModel(
        transformers.SiglipVisionConfig(**values, image_size=SIDE, patch_size=PATCH)
    )
    with pytest.raises(InvalidValue, match="the vision tower is a SiglipVisionModel; reducers read a CLIPVisionModel"):
        run_tower(siglip, pixels)


@pytest.mark.parametrize("shape", [(3, SIDE, SIDE), (1, 1, 3, SIDE, SIDE), (1, 1, SIDE, SIDE), (1, 3, 28, 28)])
def test_pixels_of_another_shape_are_refused(tower, shape):
    with pytest.raises(InvalidValue) as caught:
        run_tower(tower, torch.zeros(shape))
    assert str(caught.value) == f"pixels must be a tensor (images, 3, 56, 56), not {shape}"


def test_pixels_that_are_no_tensor_are_refused(tower):
    with pytest.raises(InvalidValue, match=r"pixels must be a tensor \(images, 3, 56, 56\), not list"):
        run_tower(tower, [[1.0]])
