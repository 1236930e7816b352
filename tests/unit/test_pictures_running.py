"""Reducers over pictures: counts against Hugging Face and numpy alone, batches, times, costs, what is left out."""

import math
from pathlib import Path

import numpy as np
import pytest
from doubles import quick_torch
from hypothesis import given
from hypothesis import strategies as st
from picture_files import (
    CLIP,
    GRID,
    LLAVA,
    PATCHES,
    TOWER,
    tower_tensors,
    write_clip,
    write_home,
    write_json,
    write_pictures,
)

import perfkit
from perfkit.errors import InvalidSpec, InvalidValue, MachineError, UnknownName
from perfkit.pictures import running
from perfkit.pictures.distribution import MOST_BINS, QUANTILES, distribution_of, histogram
from perfkit.pictures.results import FIGURES, MEANS_NOTHING
from perfkit.pictures.running import reduce_pictures


@pytest.fixture(autouse=True, scope="module")
def quick():
    with quick_torch():
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return write_home(tmp_path_factory.mktemp("home"), 7)


@pytest.fixture(scope="module")
def reduced(home):
    """The function with what all tests share; times are not waited for."""

    def call(methods=("prumerge",), *, pictures=None, **asked):
        weights = {} if {"vision_model", "random_weights"} & set(asked) else {"vision_model": str(home / "llava")}
        pictures = [str(home / "pictures")] if pictures is None else pictures
        return reduce_pictures(pictures, methods, **weights, **{"budget_s": 0.01, "device": "cpu", **asked})

    return call


@pytest.fixture(scope="module")
def plain(reduced):
    return reduced(["prumerge", "prumerge+", "spatial:n=16"])


# --- counts, computed once more by Hugging Face's model and numpy


def seen_by_hugging_face(folder, path):
    """Features of layer -2 and, by hooks, query of the class token and keys of the last layer: float64 arrays."""
    import torch
    from PIL import Image
    from transformers import CLIPImageProcessorPil, CLIPVisionModel

    model = CLIPVisionModel.from_pretrained(folder).eval()
    side = model.config.image_size
    processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    caught = {}
    attention = model.encoder.layers[-1].self_attn
    for name in ("q_proj", "k_proj"):
        getattr(attention, name).register_forward_hook(lambda _, __, out, name=name: caught.update({name: out}))
    with torch.no_grad():
        pixels = processor(Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"]
        features = model(pixels, output_hidden_states=True).hidden_states[-2][0, 1:]
    query, keys = caught["q_proj"][0, 0], caught["k_proj"][0]
    return features.numpy(), query.double().numpy(), keys.double().numpy()


def outlying_patches(query, keys):
    """The paper's choice in numpy: scores of the class token that exceed Q3 + 1.5 (Q3 - Q1)."""
    logits = keys @ query / math.sqrt(keys.shape[1])
    scores = np.exp(logits - logits.max())
    scores = (scores / scores.sum())[1:]
    low, high = np.percentile(scores, [25, 75])
    return set(np.flatnonzero(scores > high + 1.5 * (high - low)).tolist())


@pytest.mark.filterwarnings("ignore")
def test_prumerge_keeps_what_the_paper_says_of_hugging_faces_own_tensors(home, plain):
    counts = []
    for kept in plain.methods[0].kept:
        _, query, keys = seen_by_hugging_face(home / "clip", kept.picture)
        expected = outlying_patches(query, keys)
        assert set(kept.patches) == expected
        assert kept.tokens == len(expected) + 1  # the appended token
        counts.append(kept.tokens)
    assert len(set(counts)) > 2, "pictures differ, or this test could not fail"


@pytest.mark.filterwarnings("ignore")
def test_prumerge_plus_adds_the_grid_of_the_paper(home, plain):
    for kept in plain.methods[1].kept:
        _, query, keys = seen_by_hugging_face(home / "clip", kept.picture)
        outliers = outlying_patches(query, keys)
        step = max(1, PATCHES // len(outliers) // 3) if outliers else PATCHES + 1
        grid = set(range(0, PATCHES, step)) if outliers else set()
        assert set(kept.patches) == outliers | grid
        assert kept.tokens == len(outliers | grid) + 1


@pytest.mark.filterwarnings("ignore")
def test_reducers_see_hugging_faces_own_tensors(home, reduced, monkeypatch):
    from perfkit.pictures.batches import Reducing

    seen = []
    original = Reducing.seen
    monkeypatch.setattr(Reducing, "seen", lambda self, *rest: seen.append(original(self, *rest)) or seen[-1])
    reduced(pictures=[home / "pictures" / "02.png"])
    features, query, keys = seen_by_hugging_face(home / "clip", home / "pictures" / "02.png")
    assert np.abs(seen[0].features[0].numpy() - features).max() < 1e-4 * np.abs(features).max()
    assert np.abs(seen[0].queries[0, 0].numpy() - query).max() < 1e-4 * np.abs(query).max()
    assert np.abs(seen[0].keys[0].numpy() - keys).max() < 1e-4 * np.abs(keys).max()


def test_a_uniform_grid_keeps_n(plain):
    for kept in plain.methods[2].kept:
        assert kept.patches == tuple(range(0, PATCHES, 4))  # 64 / 16
        assert kept.tokens == 16


def test_a_bare_clip_with_the_same_weights_keeps_the_same(home, reduced, plain):
    found = reduced(vision_model=str(home / "clip"), model=str(home / "llava.json"))
    assert found.methods[0].kept == plain.methods[0].kept


def test_pictures_come_in_their_order_under_the_names_that_were_given(home, plain):
    assert [kept.picture for kept in plain.methods[0].kept] == [
        str(home / "pictures" / f"{i:02}.png") for i in range(7)
    ]


# --- batches


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_what_is_kept_does_not_depend_on_the_batch(size, reduced, plain):
    methods = ["prumerge", "prumerge+", "spatial:n=16"]
    assert [m.kept for m in reduced(methods, batch_size=size).methods] == [m.kept for m in plain.methods]


def test_nor_does_it_depend_on_the_other_methods_or_pictures(home, reduced, plain):
    one = str(home / "pictures" / "03.png")
    assert reduced(["prumerge+"], pictures=[one]).methods[0].kept == (plain.methods[1].kept[3],)


@pytest.mark.parametrize("size", [1, 3])
def test_random_draws_are_the_same_again_whatever_the_batch(size, reduced):
    import torch

    again = []
    for n in (size, 7):
        torch.manual_seed(n)  # whatever was drawn before
        again.append(reduced(["random:n=9"], batch_size=n).methods[0].kept)
    assert again[0] == again[1]
    assert len({kept.patches for kept in again[0]}) == 7  # drawn anew for each picture


def test_the_published_codes_ratio_is_pooled_over_the_batch(reduced):
    alone, pooled = (reduced(strict_reference=True, batch_size=n).methods[0] for n in (None, 7))
    assert alone.counts == reduced().methods[0].counts  # one picture at a time by default
    assert len(set(pooled.counts)) == 1  # the same share of each
    assert pooled.strict_reference


def test_progress_goes_through_the_batches(reduced):
    from contextlib import contextmanager

    seen = []

    @contextmanager
    def progress(batches):
        yield (seen.append(batch.label) or batch for batch in batches)

    reduced(batch_size=3, progress=progress)
    assert seen == ["00.png and 2 more", "03.png and 2 more", "06.png"]


@pytest.mark.parametrize(("products", "tf32"), [("highest", False), ("medium", True)])
def test_products_are_those_of_fp32_and_what_was_set_comes_back(products, tf32):
    import torch

    from perfkit.pictures.batches import undisturbed

    def settings():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = settings()
    try:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = tf32
        with undisturbed(torch.device("cpu")):
            assert settings() == ("highest", False)
        assert settings() == (products, tf32)
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def test_torch_is_left_as_it_was(reduced):
    import torch

    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    reduced(["random:n=4"])
    assert torch.equal(torch.rand(1), expected)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
    assert torch.is_grad_enabled()


# --- ratio and neighbours


def test_a_ratio_says_how_many_are_kept(reduced):
    run = reduced(["prumerge", "spatial"], ratio=0.25)
    assert set(run.methods[0].counts) == {PATCHES // 4 + 1}
    assert set(run.methods[1].counts) == {PATCHES // 4}
    assert [m.ratio for m in run.methods] == [0.25, 0.25]
    assert [m.label for m in run.methods] == ["prumerge, ratio 0.25", "spatial, ratio 0.25"]
    for method, cost in zip(run.methods, (17, 16), strict=True):
        expected = perfkit.analyze("v100", run.model, tokens=cost, reduction=method.text)
        assert method.prediction("v100-sxm2-32gb", cost).ttft_roofline_s == expected.ttft_roofline_s


def test_a_label_says_what_the_text_does_not(reduced):
    assert reduced().methods[0].label == "prumerge"
    assert reduced(strict_reference=True).methods[0].label == "prumerge, as published"
    assert reduced(strict_reference=True, ratio=0.5).methods[0].label == "prumerge, ratio 0.5, as published"


def test_neighbours_stand_in_the_methods_text(reduced):
    assert reduced(neighbours=5).methods[0].text == "prumerge:k=5"
    assert reduced(["prumerge", "prumerge:k=32"]).methods[0].text == "prumerge"  # twice the same is once


# --- times


def test_times_are_of_the_tower_and_of_each_reducer(plain):
    assert plain.tower.batch == 7
    for timing in (plain.tower.timing, *(method.timing for method in plain.methods)):
        assert timing.median_s > 0
    for method in plain.methods:
        part, whole = method.timing.median_s, plain.tower.timing.median_s
        assert plain.share(method) == pytest.approx(part / (part + whole))
    assert plain.machine.kind == "cpu"
    assert plain.tower.precision == "fp32"


def test_times_are_of_the_first_batch(reduced, monkeypatch):
    from perfkit.pictures.batches import Reducing

    sizes = []
    seen = Reducing.seen
    monkeypatch.setattr(
        Reducing, "seen", lambda self, tower, pixels: sizes.append(len(pixels)) or seen(self, tower, pixels)
    )
    assert reduced(batch_size=4).tower.batch == 4
    assert sizes[:2] == [4, 3]  # the pictures
    assert set(sizes[2:]) == {4}  # the timing


def test_pillow_is_among_the_libraries(plain):
    from importlib.metadata import version

    assert plain.machine.libraries["pillow"] == version("pillow")
    assert plain.machine.libraries["torch"] == version("torch")


def test_the_tower_runs_no_further_than_methods_need(reduced, monkeypatch):
    from perfkit.pictures.batches import Reducing

    asked = []
    seen = Reducing.seen
    monkeypatch.setattr(Reducing, "seen", lambda self, *rest: asked.append(self.needs_class_token) or seen(self, *rest))
    reduced(["spatial:n=4"])
    reduced(["spatial:n=4", "prumerge"])
    assert set(asked[:2]) == {False}
    assert asked[-1]


# --- costs


def test_costs_are_those_of_roofline_at_each_count(home, plain):
    model = str(home / "llava")
    for method in plain.methods:
        costs = [perfkit.analyze("v100", model, tokens=tokens, reduction=method.text) for tokens in method.counts]
        prefill = [next(phase.flops for phase in p.phases if phase.phase == "prefill") for p in costs]
        by_key = {figure.key: method.cost("v100-sxm2-32gb", figure) for figure in FIGURES}
        assert by_key["prefill_flops"] == distribution_of(prefill)
        assert by_key["ttft_roofline_s"] == distribution_of([p.ttft_roofline_s for p in costs])
        assert by_key["kv_bytes"] == distribution_of([p.footprint.kv for p in costs])
        # The first token, and 127 steps after it.
        requests = [p.ttft_roofline_s + 127 * p.tpot_roofline_s for p in costs]
        assert by_key["request_roofline_s"].mean == pytest.approx(sum(requests) / len(requests))


def test_kv_bytes_by_hand(plain):
    # 2 layers * keys and values * 64 wide * 2 bytes = 512 a token; 60 + 128 tokens beside the visual ones.
    method = plain.methods[0]
    kv = next(figure for figure in FIGURES if figure.key == "kv_bytes")
    expected = [512 * (tokens + 188) for tokens in method.counts]
    assert method.cost("v100-sxm2-32gb", kv).mean == pytest.approx(sum(expected) / 7)
    assert kv.of(plain.unreduced["v100-sxm2-32gb"]) == 512 * (PATCHES + 188)


def test_requests_and_formats_reach_the_costs(reduced):
    options = {"text_tokens": 7, "new_tokens": 9, "batch": 2, "precision": "bf16", "weights": "int4", "kv": "int8"}
    run = reduced(gpus=("a100", "h100", "a100"), **options)
    assert list(run.unreduced) == ["a100-sxm-80gb", "h100-sxm-80gb"]  # each once
    for p in (*run.unreduced.values(), *run.methods[0].predictions["a100-sxm-80gb"].values()):
        assert (p.workload.text_tokens, p.workload.new_tokens, p.workload.batch) == (7, 9, 2)
        assert (p.execution.activations.value, p.execution.weights.value, p.execution.kv.value) == (
            "bf16",
            "int4",
            "int8",
        )


def test_one_token_more_than_the_model_takes_is_costed_as_all_and_told(reduced):
    # A ratio of 1 keeps all 64 patches, and PruMerge appends one token.
    run = reduced(ratio=1)
    method = run.methods[0]
    assert set(method.counts) == {PATCHES + 1}
    (note,) = run.notes
    assert note.startswith("prumerge: 7 of 7 pictures keep all patches and one token more: costed as the 64")
    assert list(method.predictions["v100-sxm2-32gb"]) == [PATCHES]


def test_the_model_is_the_llava_of_the_folder_unless_another_is_named(home, reduced, plain):
    assert plain.model == str(home / "llava")
    assert reduced(model=str(home / "llava.json")).model == str(home / "llava.json")


def test_a_model_that_sees_otherwise_is_refused(home, reduced):
    with pytest.raises(InvalidValue, match=r"clip makes 64 patches .* llava-1.5-7b 576: name a model"):
        reduced(vision_model=str(home / "clip"))  # costed for llava-1.5-7b


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("clip-vit-l-14-336", "is no vision-language model"),
        ("vicuna-7b", "is no vision-language model"),
        ("llava-next-7b", "in 5 tiles"),
        ("video-llava-7b", "in 8 tiles"),
    ],
)
def test_models_that_take_no_single_picture_are_refused(model, words, reduced):
    with pytest.raises(InvalidValue, match=words):
        reduced(model=model)


# --- random weights


def test_random_weights_say_that_they_mean_nothing(home, reduced):
    run = reduced(random_weights=True, model=str(home / "llava.json"))
    assert run.tower.random
    assert run.warnings == (MEANS_NOTHING,)
    assert reduced().warnings == ()


def test_neither_or_both_ways_to_weights_are_refused(home):
    with pytest.raises(InvalidValue, match="a dry run: one of them is needed"):
        reduce_pictures([home / "pictures"])
    with pytest.raises(InvalidValue, match="a dry run: not both"):
        reduce_pictures([home / "pictures"], vision_model="x", random_weights=True)


# --- what is left out


@pytest.fixture
def mixed(tmp_path):
    """Three good pictures, a truncated one and a text."""
    paths = write_pictures(tmp_path, 4)
    whole = (tmp_path / "01.png").read_bytes()
    (tmp_path / "01.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "04.png").write_text("no picture")
    return [*paths, str(tmp_path / "04.png")]


def test_an_unreadable_picture_stops_the_run_by_its_name(mixed, reduced):
    with pytest.raises(InvalidValue, match=r"01\.png: .*; --unreadable skip leaves such pictures out"):
        reduced(pictures=mixed)


def test_or_is_left_out_and_named(mixed, reduced):
    run = reduced(pictures=mixed, unreadable="skip", batch_size=2)
    assert [kept.picture for kept in run.methods[0].kept] == [mixed[0], mixed[2], mixed[3]]
    assert [left.picture for left in run.unreadable] == [mixed[1], mixed[4]]
    assert (
        run.warnings[1] == f"left out: {mixed[4]}: no picture of a known format (BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP)"
    )


def test_a_line_of_pixels_counts_as_unreadable(tmp_path, reduced):
    from PIL import Image

    Image.new("RGB", (1, 10_000)).save(tmp_path / "line.png")  # 112 x 1 120 000 pixels when resized
    with pytest.raises(InvalidValue, match=r"line\.png: 112 x 1120000 pixels when 1 x 10000 are resized"):
        reduced(pictures=[tmp_path])


def test_none_left_is_refused(tmp_path, reduced):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(InvalidValue, match="no picture is left: none of 1 can be read"):
        reduced(pictures=[tmp_path], unreadable="skip")


def poisoned(folder, value):
    """A tower that makes numbers which are not finite of every picture."""
    tensors = tower_tensors()
    tensors["encoder.layers.0.mlp.fc2.bias"][3] = value
    return str(write_clip(folder, tensors))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_stop_the_run_by_name(value, home, tmp_path, reduced):
    weights = poisoned(tmp_path, value)
    with pytest.raises(InvalidValue, match=r"00\.png: its features, queries or keys are not finite; --non-finite skip"):
        reduced(vision_model=weights, model=str(home / "llava.json"))
    with pytest.raises(InvalidValue, match="prumerge: no picture is left: of all 7 its features"):
        reduced(vision_model=weights, model=str(home / "llava.json"), non_finite="skip")


def test_or_are_left_out_and_counted(home, reduced, monkeypatch, plain):
    from perfkit.pictures.batches import Reducing

    seen = Reducing.seen

    def broken(self, tower, pixels):
        found = seen(self, tower, pixels)
        found.features[1, 2, 3] = math.nan
        return found

    monkeypatch.setattr(Reducing, "seen", broken)
    run = reduced(["prumerge", "spatial:n=16"], batch_size=4, non_finite="skip")
    pictures = [str(home / "pictures" / name) for name in ("01.png", "05.png")]  # the second of each batch
    for method, whole in zip(run.methods, (plain.methods[0], plain.methods[2]), strict=True):
        assert [left.picture for left in method.left_out] == pictures
        assert method.kept == tuple(kept for kept in whole.kept if kept.picture not in pictures)
    assert len(run.warnings) == 4


# --- what is asked


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"methods": ["prumerg"]}, UnknownName, "prumerge"),
        ({"methods": ["fastv"]}, InvalidValue, "inside the language model"),
        ({"methods": ["prumerg:k=2"]}, UnknownName, "allowed: prumerge, prumerge\\+, random, sequential, spatial$"),
        ({"methods": []}, InvalidValue, "at least one method"),
        ({"methods": "prumerge"}, InvalidValue, r"methods must be a list, such as \['prumerge'\], not one by itself"),
        ({"gpus": "v100"}, InvalidValue, r"gpus must be a list, such as \['v100'\]"),
        ({"pictures": "photos"}, InvalidValue, r"pictures must be a list, such as \['photos'\]"),
        ({"pictures": Path("photos")}, InvalidValue, r"pictures must be a list, such as \['photos'\]"),
        ({"budget_s": 0}, InvalidValue, "--budget must be a number of seconds above zero, not 0"),
        ({"budget_s": -1.0}, InvalidValue, "--budget must be"),
        ({"budget_s": math.nan}, InvalidValue, "--budget must be"),
        ({"budget_s": math.inf}, InvalidValue, "--budget must be"),
        ({"budget_s": "5"}, InvalidValue, "--budget must be .*, not '5'"),
        ({"budget_s": True}, InvalidValue, "--budget must be"),
        (
            {"methods": ["prumerge+"], "strict_reference": True, "batch_size": 3},
            InvalidValue,
            "takes one image at a time in adaptive PruMerge.*, not 3",
        ),
        # int(64 * 0.3) = 19 patches; every third of 575, from the second on, makes 192.
        (
            {"methods": ["prumerge+"], "strict_reference": True, "ratio": 0.3},
            InvalidValue,
            "has room for 19 patches of a grid, and ratio 0.3 makes 192",
        ),
        ({"methods": ["spatial"]}, InvalidValue, "needs n or a ratio"),
        ({"methods": ["spatial:n=65"]}, InvalidValue, "there are 64 patches"),
        ({"methods": ["spatial:n=16"], "ratio": 0.5}, InvalidValue, "a ratio is given as well"),
        ({"ratio": 0.0}, InvalidValue, "above 0 and at most 1"),
        ({"ratio": 1.01}, InvalidValue, "above 0 and at most 1"),
        ({"ratio": math.nan}, InvalidValue, "above 0 and at most 1"),
        ({"neighbours": 0}, InvalidValue, "neighbours"),
        ({"batch_size": 0}, InvalidValue, "--batch-size"),
        ({"non_finite": "ignore"}, UnknownName, "--non-finite"),
        ({"unreadable": "ignore"}, UnknownName, "--unreadable"),
        ({"device": "tpu"}, UnknownName, "--device"),
        ({"tower_precision": "int8"}, UnknownName, "--tower-precision"),
        ({"tower_precision": "fp16"}, InvalidValue, "fp16 is not timed on cpu"),
        ({"gpus": []}, InvalidValue, "at least one device"),
        ({"gpus": ["v10"]}, UnknownName, "v100"),
        ({"precision": "bf16"}, ValueError, "bf16"),  # which a V100 lacks
        ({"model": "llava-1.5"}, UnknownName, "llava-1.5-7b"),
        ({"pictures": []}, InvalidValue, "at least one picture"),
        ({"pictures": ["nowhere.png"]}, InvalidValue, "nowhere.png"),
        ({"pictures": ["no\nwhere"]}, InvalidValue, r"^'no\\nwhere': no such file or folder$"),
        ({"pictures": [""]}, InvalidValue, "'': name a picture, or a folder of them"),
        ({"vision_model": ""}, InvalidValue, "--vision-model must name a folder, not ''"),
        ({"model": ""}, InvalidSpec, "holds no config.json"),
        ({"vision_model": "nowhere"}, InvalidValue, "no folder 'nowhere'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_any_weights_are_read(asked, error, words, reduced, monkeypatch):
    monkeypatch.setattr("perfkit.pictures.tower._built", lambda *_: pytest.fail("the tower was made"))
    with pytest.raises(error, match=words):
        reduced(**asked)


@pytest.mark.parametrize("missing", ["PIL", "torch", "transformers", "safetensors"])
def test_a_missing_library_names_the_extra(missing, reduced, monkeypatch):
    real = running.find_spec
    monkeypatch.setattr(running, "find_spec", lambda name: None if name == missing else real(name))
    with pytest.raises(MachineError, match=rf"pictures need {missing}: pip install 'perfkit\[pictures\]'"):
        reduced()


def test_one_picture_alone_may_be_asked_for_in_any_batch(home, reduced):
    # 64 patches are too few for the published grid, which is found out with the picture.
    with pytest.raises(InvalidValue, match=r"^/.*/00\.png: strict_reference: .* there are 64 patches"):
        reduced(["prumerge+"], pictures=[home / "pictures" / "00.png"], strict_reference=True, batch_size=3)


@pytest.mark.parametrize(("size", "named"), [(1, r"00\.png"), (3, r"00\.png and 2 more")])
def test_what_a_method_cannot_do_with_pictures_names_them(size, named, reduced, monkeypatch):
    from perfkit.pictures.batches import Reducing

    original = Reducing.reduced

    def refusing(self, method, seen):
        if seen.features.any():
            raise InvalidValue("no way")
        return original(self, method, seen)

    monkeypatch.setattr(Reducing, "reduced", refusing)
    with pytest.raises(InvalidValue, match=rf"^/.*/{named}: no way$"):
        reduced(batch_size=size)


def test_features_with_the_class_token_are_refused(tmp_path, reduced, monkeypatch):
    monkeypatch.setattr("perfkit.pictures.tower._built", lambda *_: pytest.fail("the tower was made"))
    model = write_json(tmp_path / "llava.json", LLAVA | {"vision_feature_select_strategy": "full"})
    with pytest.raises(
        InvalidValue, match=r"llava\.json: vision_feature_select_strategy must be 'default', patches alone, not 'full'"
    ):
        reduced(model=model)


def test_a_whole_clip_without_a_language_model_needs_one_named(tmp_path, reduced):
    write_json(tmp_path / "config.json", CLIP)
    with pytest.raises(InvalidSpec, match="holds no weights"):  # costed for llava-1.5-7b, as nothing else is named
        reduced(vision_model=str(tmp_path))


def test_the_public_name_is_this_function():
    assert perfkit.reduce_pictures is reduce_pictures


# --- distributions


@given(st.lists(st.integers(1, 577), min_size=1, max_size=200))
def test_distributions_are_numpys(counts):
    found = distribution_of(counts)
    assert found.pictures == len(counts)
    assert found.mean == pytest.approx(np.mean(counts))
    assert found.deviation == pytest.approx(np.std(counts), abs=1e-9)
    assert (found.least, found.most) == (min(counts), max(counts))
    assert found.quantiles == pytest.approx(np.percentile(counts, QUANTILES))


@given(st.lists(st.integers(1, 577), min_size=1, max_size=200))
def test_every_picture_stands_in_one_bin_of_the_histogram(counts):
    bins = histogram(counts)
    assert 1 <= len(bins) <= MOST_BINS
    assert sum(found.pictures for found in bins) == len(counts)
    assert bins[0].low == min(counts)
    assert bins[-1].low <= max(counts) <= bins[-1].high
    assert len({found.high - found.low for found in bins}) == 1
    assert [found.low for found in bins[1:]] == [found.high + 1 for found in bins[:-1]]
    for found in bins:
        assert found.pictures == sum(found.low <= count <= found.high for count in counts)


def test_nothing_has_no_distribution():
    for of in (distribution_of, histogram):
        with pytest.raises(InvalidValue, match="at least one picture"):
            of([])


def test_the_tower_of_the_tests_has_the_grid_that_they_say():
    assert TOWER["image_size"] // TOWER["patch_size"] == GRID
