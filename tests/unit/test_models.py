"""Models: parameters against the real modules' `numel()`, visual tokens, class defaults, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from perfkit.errors import InvalidSpec, UnknownName
from perfkit.models import COUNTED_CLASSES, FAMILIES, PRESETS, load_model, preset_names, read_model
from perfkit.models.config import Config
from perfkit.models.spec import FeedForwardSpec, ModelSpec
from perfkit.ops import ACTIVATION_FLOPS

Values = dict[str, Any]

DECODER: Values = {
    "vocab_size": 101,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 40,
}
ENCODER: Values = {**DECODER, "image_size": 56, "patch_size": 14}
GPT2: Values = {"vocab_size": 101, "n_positions": 40, "n_embd": 48, "n_layer": 3, "n_head": 6}
OPT: Values = {**DECODER, "ffn_dim": 96}
LLAMA: Values = {"model_type": "llama", **DECODER}
QWEN2: Values = {"model_type": "qwen2", **DECODER, "num_key_value_heads": 2}
CLIP: Values = {"model_type": "clip_vision_model", **ENCODER}
SIGLIP: Values = {"model_type": "siglip_vision_model", **ENCODER}
PARTS: Values = {"vision_config": CLIP, "text_config": LLAMA}
PINPOINTS = {"image_grid_pinpoints": [[56, 112], [112, 112]]}
ONEVISION: Values = {"vision_config": SIGLIP, "text_config": QWEN2, **PINPOINTS}

# One or more small configurations of every family; each exercises a rule of its class.
CASES: dict[str, list[Values]] = {
    "bert": [DECODER, {**DECODER, "type_vocab_size": 3, "hidden_act": "relu"}],
    "clip": [
        ENCODER,
        {"vision_config": ENCODER},
        {"vision_config": ENCODER, "vision_config_dict": {"hidden_size": 24, "num_attention_heads": 2}},
    ],
    "gpt2": [GPT2, {**GPT2, "n_inner": 56}, {**GPT2, "n_inner": None, "tie_word_embeddings": False}],
    "llama": [
        DECODER,
        {**DECODER, "num_key_value_heads": 2, "head_dim": 16, "attention_bias": True, "mlp_bias": True},
        {**DECODER, "num_key_value_heads": None, "head_dim": None, "tie_word_embeddings": True},
    ],
    "llava": [
        PARTS,
        {**PARTS, "vision_feature_layer": [-2, -1], "multimodal_projector_bias": False},
        {**PARTS, "tie_word_embeddings": True},
        {**PARTS, "text_config": {**LLAMA, "tie_word_embeddings": True}},
        {**PARTS, "vision_config": SIGLIP, "vision_feature_select_strategy": "full"},
        {**PARTS, "text_config": {"model_type": "gpt2", **GPT2, "tie_word_embeddings": False}},
        {"text_config": LLAMA},
        {"vision_config": {}, "text_config": {"num_hidden_layers": 1}},
    ],
    "llava_next": [
        {**PARTS, **PINPOINTS},
        {**PARTS, **PINPOINTS, "text_config": {**LLAMA, "tie_word_embeddings": True}},
        {"text_config": {**LLAMA, "model_type": "mistral", "num_key_value_heads": 2}},
    ],
    "llava_onevision": [
        ONEVISION,
        {**ONEVISION, "text_config": {**QWEN2, "tie_word_embeddings": True}},
        {"text_config": QWEN2},
    ],
    "mistral": [
        {**DECODER, "num_attention_heads": 8},  # key and value heads: absent, so 8
        {**DECODER, "num_key_value_heads": 2, "head_dim": 10, "tie_word_embeddings": True},
    ],
    "mixtral": [
        {**DECODER, "num_attention_heads": 8},
        {**DECODER, "num_key_value_heads": 3, "num_local_experts": 4, "num_experts_per_tok": 1, "head_dim": 12},
    ],
    "opt": [
        OPT,
        {**OPT, "word_embed_proj_dim": 24, "do_layer_norm_before": False},  # the form of OPT-350m
        {**OPT, "enable_bias": False, "layer_norm_elementwise_affine": False, "tie_word_embeddings": False},
        {**OPT, "_remove_final_layer_norm": True},
    ],
    "qwen2": [
        {**DECODER, "num_attention_heads": 32, "hidden_size": 64},  # key and value heads: absent, so 32
        {**DECODER, "num_key_value_heads": None, "tie_word_embeddings": True},
        {**DECODER, "num_key_value_heads": 2, "head_dim": 12},
    ],
    "qwen3": [
        {**DECODER, "num_key_value_heads": 2},  # head_dim: absent, so 128
        {**DECODER, "num_key_value_heads": None, "head_dim": 16, "attention_bias": True},
    ],
    "siglip": [ENCODER, {**ENCODER, "vision_use_head": False}, {"vision_config": ENCODER}],
    "video_llava": [
        PARTS,
        {**PARTS, "text_config": {**LLAMA, "tie_word_embeddings": True}, "video_seq_length": 51},
        {"text_config": LLAMA},
    ],
}


def read(family: str, values: Mapping[str, Any]) -> ModelSpec:
    return read_model(Config({"model_type": family, **values}, "file"))


def numel(family: str, values: Mapping[str, Any]) -> int:
    """Parameters of Hugging Face's module, a tied one counted once."""
    # A copy, because CLIPConfig writes into the sections that it is given.
    values = deepcopy({key: value for key, value in values.items() if key != "model_type"})
    config = transformers.CONFIG_MAPPING[family](**values)
    if family in ("clip", "siglip"):
        whole = "vision_config" in values
        config = config.vision_config if whole else transformers.CONFIG_MAPPING[f"{family}_vision_model"](**values)
    with torch.device("meta"):
        module = getattr(transformers, COUNTED_CLASSES[family])(config)
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_family_has_cases() -> None:
    assert set(CASES) == set(FAMILIES)
    files = {path.stem for path in PRESETS.parent.glob("*.py")} - {"__init__", "classic", "config", "spec"}
    assert files == set(FAMILIES)


@pytest.mark.parametrize(("family", "values"), [(family, case) for family in FAMILIES for case in CASES[family]])
def test_parameters_are_those_of_the_module(family: str, values: Values) -> None:
    assert read(family, values).parameters == numel(family, values)


@pytest.mark.parametrize("name", preset_names())
def test_parameters_of_presets_are_those_of_the_module(name: str) -> None:
    document = json.loads((PRESETS / f"{name}.json").read_text())
    spec = load_model(name)
    assert spec.parameters == numel(spec.family, document["config"])
    assert (spec.name, spec.source) == (name, document["source"])


def test_presets_cover_the_models_that_papers_use() -> None:
    wanted = "llava-1.5-7b llava-1.5-13b llava-next-7b video-llava-7b llava-onevision-7b vicuna-7b vicuna-13b "
    wanted += "llama-2-7b llama-2-13b llama-2-70b llama-3-8b llama-3-70b mistral-7b mixtral-8x7b qwen2-7b qwen2.5-7b "
    wanted += "bert-base clip-vit-l-14-336 siglip-so400m"
    assert set(wanted.split()) <= set(preset_names())


def test_parts_of_llava_7b() -> None:
    spec = load_model("llava-1.5-7b")
    assert spec.vision is not None
    assert spec.projector is not None
    assert spec.text is not None
    assert spec.parameters == 7_063_427_072
    assert spec.vision.parameters == 303_507_456
    assert spec.projector.parameters == 20_979_712  # (1024 + 4096 + 2) * 4096
    assert spec.text.embedding_parameters == 131_334_144  # 32064 * 4096
    assert spec.text.parameters - 131_334_144 == 6_607_605_760  # without lm_head
    assert spec.text.stack.parameters == 32 * 202_383_360


def test_parts_of_llava_13b() -> None:
    spec = load_model("llava-1.5-13b")
    assert spec.vision is not None
    assert spec.projector is not None
    assert spec.text is not None
    assert spec.parameters == 13_351_494_656
    assert spec.vision.parameters == 303_507_456
    assert spec.projector.parameters == 31_467_520  # (1024 + 5120 + 2) * 5120
    assert spec.text.embedding_parameters == 164_167_680  # 32064 * 5120
    assert spec.text.parameters - 164_167_680 == 12_852_352_000
    assert spec.text.stack.parameters == 40 * 317_204_480


def test_parameters_of_known_models() -> None:
    assert load_model("llama-2-7b").parameters == load_model("vicuna-7b").parameters == 6_738_415_616
    assert load_model("llama-3-8b").parameters == 8_030_261_248
    assert load_model("mistral-7b").parameters == 7_241_732_096
    assert load_model("mixtral-8x7b").parameters == 46_702_792_704
    assert load_model("qwen2.5-7b").parameters == 7_615_616_512
    assert load_model("bert-base").parameters == 109_482_240
    assert load_model("siglip-so400m").parameters == 428_225_600


# ---- visual tokens


@pytest.mark.parametrize(
    ("name", "tiles", "tokens", "newlines"),
    [
        ("llava-1.5-7b", 1, 576, 0),  # (336 / 14)^2 = 576, without the class token
        ("llava-1.5-13b", 1, 576, 0),
        # the whole picture 24^2 = 576 and 2 x 2 tiles: 48 rows of 48 patches and a newline, 48 * 49 = 2352
        ("llava-next-7b", 5, 2928, 48),
        # the whole picture 27^2 = 729 and 5 x 2 tiles: 135 rows of 54 patches and a newline, 135 * 55 = 7425
        ("llava-onevision-7b", 11, 8154, 135),
        ("video-llava-7b", 8, 2048, 0),  # 8 frames of (224 / 14)^2 = 256
        ("clip-vit-l-14-336", 1, 577, 0),
        ("siglip-so400m", 1, 729, 0),
        ("llama-2-7b", 1, 0, 0),
    ],
)
def test_visual_tokens(name: str, tiles: int, tokens: int, newlines: int) -> None:
    spec = load_model(name)
    assert (spec.tiles, spec.visual_tokens, spec.newline_tokens) == (tiles, tokens, newlines)
    assert spec.projected_tokens == tokens - newlines


@pytest.mark.parametrize("family", ["llava_next", "llava_onevision"])
def test_visual_tokens_are_the_most_that_the_processor_makes_of_a_filled_grid(family: str) -> None:
    processor_class: Any = {
        "llava_next": transformers.LlavaNextProcessor,
        "llava_onevision": transformers.LlavaOnevisionProcessor,
    }[family]
    config = transformers.CONFIG_MAPPING[family]()
    size = config.vision_config.image_size
    # A processor needs files of a checkpoint; these are all that its arithmetic reads.
    processor = processor_class.__new__(processor_class)
    processor.patch_size, processor.num_additional_image_tokens = 14, 0
    processor.num_image_tokens, processor.vision_aspect_ratio = 729, "anyres_max_9"
    processor.image_processor = SimpleNamespace(image_grid_pinpoints=config.image_grid_pinpoints)
    counts = [processor._get_number_of_features(h, w, size, size) for h, w in config.image_grid_pinpoints]
    text = {"text_config": {**LLAMA, "num_key_value_heads": None}}
    assert read(family, text).visual_tokens == max(counts)


def test_onevision_counts_a_grid_that_is_shrunk() -> None:
    values = {**ONEVISION, "image_grid_pinpoints": [[224, 224]], "vision_aspect_ratio": "anyres_max_4"}
    spec = read("llava_onevision", values)
    # 4 x 4 tiles of 4 x 4 patches: ratio sqrt(256 / (4 * 16)) = 2, so 8 rows of 8 patches and a newline remain
    assert (spec.tiles, spec.visual_tokens, spec.newline_tokens) == (17, 16 + 8 * 9, 8)
    assert spec.projected_tokens == 17 * 16  # all patches go through the projector before they are shrunk


def test_video_llava_keeps_one_tower_idle() -> None:
    spec = load_model("video-llava-7b")
    assert spec.vision is not None
    assert spec.idle_parameters == spec.vision.parameters
    assert "2056" in spec.notes[0]


def test_llava_next_notes_what_papers_count() -> None:
    spec = load_model("llava-next-7b")
    assert spec.idle_parameters == 4096  # the newline's vector
    assert "2880" in spec.notes[0]
    assert "48 row ends" in spec.notes[0]


# ---- class defaults


def test_defaults_are_named() -> None:
    defaults = load_model("llava-1.5-7b").defaults
    wanted = {"hidden_size=4096", "num_hidden_layers=32", "num_attention_heads=32", "intermediate_size=11008"}
    assert {f"text_config.{one}" for one in wanted} <= set(defaults)
    assert "text_config.vocab_size=32064" not in defaults
    assert "vision_config" in read("llava", {"text_config": LLAMA}).defaults
    assert load_model("mistral-7b").defaults == ()
    assert all(len(default) < 120 for default in read("llava_onevision", {"text_config": QWEN2}).defaults)


def windows(family: str, **values: Any) -> int | None:
    spec = read(family, {**DECODER, "num_key_value_heads": 2, **values})
    assert spec.text is not None
    return spec.text.stack.attention.sliding_window


def test_sliding_window_tells_null_from_absent() -> None:
    assert windows("mistral") == 4096
    assert windows("mistral", sliding_window=None) is None
    assert windows("mistral", sliding_window=7) == 7
    assert windows("mixtral") is None
    assert windows("mixtral", sliding_window=7) == 7


@pytest.mark.parametrize(
    ("family", "absent"), [("llama", 64), ("mistral", 8), ("mixtral", 8), ("qwen2", 32), ("qwen3", 32)]
)
def test_key_and_value_heads_tell_null_from_absent(family: str, absent: int) -> None:
    values = {**DECODER, "hidden_size": 128, "num_attention_heads": 64}
    cases: list[tuple[Values, int]] = [
        ({}, absent),
        ({"num_key_value_heads": None}, 64),
        ({"num_key_value_heads": 2}, 2),
    ]
    for given, heads in cases:
        text = read(family, {**values, **given}).text
        assert text is not None
        assert text.stack.attention.kv_heads == heads


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_qwen_uses_its_window_only_when_told(family: str) -> None:
    assert windows(family, sliding_window=7) is None
    assert windows(family, sliding_window=7, use_sliding_window=True) is None  # max_window_layers 28 > 3 layers
    assert windows(family, sliding_window=7, use_sliding_window=True, max_window_layers=0) == 7
    assert windows(family, use_sliding_window=True, max_window_layers=0) == 4096
    assert windows(family, sliding_window=None, use_sliding_window=True, max_window_layers=0) is None
    types = ["sliding_attention"] * 3
    assert windows(family, sliding_window=7, use_sliding_window=True, layer_types=types) == 7


def test_a_window_of_some_layers_is_noted_through_llava() -> None:
    text = {**QWEN2, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 2}
    spec = read("llava", {"vision_config": SIGLIP, "text_config": text})
    assert spec.notes == ("1 of 3 layers look back 7 tokens at most; all are counted with full attention",)


def test_max_position_embeddings_defaults_differ() -> None:
    contexts = {"llama": 2048, "mistral": 131072, "mixtral": 131072, "qwen2": 32768, "qwen3": 32768, "bert": 512}
    for family, context in {**contexts, "opt": 2048}.items():
        values = {**OPT, "num_key_value_heads": 2, "max_position_embeddings": None}
        text = read(family, values).text
        assert text is not None
        assert text.context == context


def test_only_a_language_model_with_a_head_generates() -> None:
    assert load_model("llava-1.5-7b").has_decoder
    assert read("gpt2", GPT2).has_decoder
    assert not load_model("bert-base").has_decoder
    assert not load_model("siglip-so400m").has_decoder
    bert = read("bert", DECODER).text
    assert bert is not None
    assert not bert.stack.attention.causal


# ---- what is refused


def write(path: Path, values: object) -> str:
    file = path / "config.json"
    file.write_text(values if isinstance(values, str) else json.dumps(values))
    return str(file)


def test_a_file_and_its_folder_are_read_alike(tmp_path: Path) -> None:
    file = write(tmp_path, LLAMA)
    assert load_model(file).parameters == load_model(str(tmp_path)).parameters == numel("llama", DECODER)
    assert load_model(str(tmp_path)).source == file


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (DECODER, "model_type is missing"),
        ({**DECODER, "model_type": 3}, "model_type is missing"),
        ({**DECODER, "model_type": "lama"}, "unknown model_type 'lama'; nearest: llama"),
        ({**PARTS, "model_type": "llava", "text_config": {"model_type": "qwen9"}}, "unknown model_type 'qwen9'"),
        ({**DECODER, "model_type": "x" * 10**6}, "unknown model_type 'xxx"),
        ({**LLAMA, "hidden_act": "x" * 10**6}, "the cost of activation 'xxx"),
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"hidden_size": ' + "9" * 5000 + "}", "not JSON"),
        ([1, 2], "must hold a JSON object, not a list"),
        ({"model_type": "llama"}, "hidden_size is missing, and a model cannot be counted without it"),
        ({"model_type": "gpt2"}, "n_embd is missing"),
        ({"model_type": "clip"}, "hidden_size is missing"),
        ({**PARTS, "model_type": "llava", "text_config": 3}, "text_config must be a mapping, not 3"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, values: object, message: str) -> None:
    file = write(tmp_path, values)
    with pytest.raises(InvalidSpec) as caught:
        load_model(file)
    assert message in str(caught.value)
    assert str(caught.value).startswith(file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_file_of_other_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSpec, match="not text in UTF-8"):
        load_model(str(tmp_path))


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(17 * 2**20)
    monkeypatch.setattr(json, "loads", lambda _text: pytest.fail("parsed"))
    with pytest.raises(InvalidSpec, match="larger than 16 MiB"):
        load_model(str(tmp_path))


def test_a_folder_without_or_as_config_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="holds no config"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").mkdir()
    with pytest.raises(InvalidSpec, match="not a regular file"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["llava-1.5-7", "llava-1.5-7b.json", "no/such/config.json", "x" * 300, "a\0b", "~no-one"]
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str) -> None:
    with pytest.raises(UnknownName, match=r"unknown model .*; or a path to a Hugging Face config\.json"):
        load_model(name)


def test_the_nearest_preset_is_named() -> None:
    with pytest.raises(UnknownName, match=r"nearest: llava-1\.5-7b"):
        load_model("llava-1.5-7")


@pytest.mark.parametrize("value", ["48", -48, 0, True, 48.0, [48], 10**10, "9" * 5000, None])
@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_sizes_are_whole_numbers(key: str, value: object) -> None:
    with pytest.raises(
        InvalidSpec, match=f"^file: {key} (must be a whole number from 1 to 1000000000, not|is missing)"
    ):
        read("llama", {**DECODER, key: value})


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        (
            "llama",
            {**DECODER, "num_attention_heads": 5},
            "file: the hidden width 48 cannot be split evenly into 5 heads",
        ),
        (
            "bert",
            {**DECODER, "num_attention_heads": 5},
            "file: the hidden width 48 cannot be split evenly into 5 heads",
        ),
        (
            "llama",
            {**DECODER, "num_key_value_heads": 4},
            "file: 6 query heads cannot share 4 key and value heads evenly",
        ),
        ("qwen3", DECODER, "file: 6 query heads cannot share 32 key and value heads evenly"),
        (
            "mixtral",
            {**DECODER, "num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 3},
            "file: a token cannot go to 3 of 2 experts",
        ),
        ("clip", {**ENCODER, "image_size": 7}, "file: image_size 7 is smaller than patch_size 14"),
        ("siglip", {"vision_config": {"image_size": 7}}, "file: image_size 7 is smaller than patch_size 16"),
        ("llama", {**DECODER, "hidden_act": "mish"}, "file: the cost of activation 'mish' is not known; known: gelu,"),
        ("llama", {**DECODER, "hidden_act": 3}, "file: hidden_act must be a string, not 3"),
        ("llama", {**DECODER, "mlp_bias": "no"}, "file: mlp_bias must be true or false, not 'no'"),
        ("gpt2", {**GPT2, "add_cross_attention": True}, "file: add_cross_attention is true, and cross-attention"),
        ("bert", {**DECODER, "add_cross_attention": True}, "file: add_cross_attention is true, and cross-attention"),
        (
            "qwen2",
            {**DECODER, "num_key_value_heads": 2, "use_sliding_window": True, "layer_types": ["full_attention"]},
            "file: layer_types must be a list of 3 names, one a layer",
        ),
        (
            "llava",
            {**PARTS, "text_config": {**LLAMA, "num_attention_heads": 5}},
            "file: text_config: the hidden width 48 cannot be split",
        ),
        ("llava", {**PARTS, "text_config": CLIP}, "file: needs a vision tower in vision_config and a language model"),
        ("llava", {**PARTS, "vision_config": LLAMA}, "file: needs a vision tower in vision_config"),
        ("llava", {**PARTS, "text_config": {**LLAMA, "model_type": "bert"}}, "file: needs a vision tower"),
        ("llava", {**PARTS, "vision_feature_select_strategy": "cls"}, "file: vision_feature_select_strategy must be"),
        ("llava", {**PARTS, "vision_feature_layer": []}, "file: vision_feature_layer must name at least one layer"),
        ("llava", {**PARTS, "vision_feature_layer": 4}, "file: vision_feature_layer must be from -4 to 3, or a list"),
        ("llava", {**PARTS, "vision_feature_layer": [-2, -5]}, "-4 to 3, or a list of such numbers, not [-2, -5]"),
        ("llava", {**PARTS, "vision_feature_layer": "-2"}, "-4 to 3, or a list of such numbers, not '-2'"),
        ("llava", {**PARTS, "vision_feature_layer": True}, "-4 to 3, or a list of such numbers, not True"),
        ("llava", {**PARTS, "projector_hidden_act": "mish"}, "file: the cost of activation 'mish' is not known"),
        ("llava_next", {**PARTS, "image_grid_pinpoints": []}, "file: image_grid_pinpoints must be a list of (height,"),
        ("llava_next", {**PARTS, "image_grid_pinpoints": [[56, 60]]}, "in multiples of image_size 56, not [[56, 60]]"),
        ("llava_next", {**PARTS, "image_grid_pinpoints": "all"}, "file: image_grid_pinpoints must be a list"),
        ("llava_next", {**PARTS, "image_grid_pinpoints": [7]}, "file: image_grid_pinpoints must be a list"),
        ("llava_next", {**PARTS, **PINPOINTS, "vision_config": SIGLIP}, "file: the grid needs every patch of a tile"),
        ("llava_onevision", {**ONEVISION, "vision_aspect_ratio": "square"}, "must be like anyres_max_9, not 'square'"),
        (
            "video_llava",
            {**PARTS, "video_seq_length": 16},
            "file: video_seq_length 16 is no multiple of the",
        ),
    ],
)
def test_what_cannot_be_is_refused(family: str, values: Values, message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        read(family, values)
    assert message in str(caught.value)
    assert str(caught.value).count("file:") == 1


def test_known_activations_are_hugging_faces() -> None:
    from transformers.activations import ACT2FN

    for name in ACTIVATION_FLOPS:
        assert name in ACT2FN
        FeedForwardSpec(4, False, name)


# --- what a configuration says and the count does not follow, and what cannot be read


def config_file(folder: Path, text: str) -> str:
    path = folder / "config.json"
    path.write_text(text)
    return str(path)


def test_a_quantization_config_is_named_as_not_applied(tmp_path: Path) -> None:
    sizes = '"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4'
    plain = f'{{"model_type": "llama", {sizes}, "vocab_size": 100'
    assert load_model(config_file(tmp_path, plain + "}")).notes == ()
    (note,) = load_model(config_file(tmp_path, plain + ', "quantization_config": {"bits": 4}}')).notes
    assert "quantization_config is not applied" in note
    assert "--weights" in note


@pytest.mark.parametrize("depth", [1, 2, 300])
def test_a_llava_is_no_part_of_a_llava(tmp_path: Path, depth: int) -> None:
    nested = '{"model_type": "llava", "text_config": ' * depth + '{"model_type": "llava"}' + "}" * depth
    with pytest.raises(InvalidSpec, match="a llava cannot be a part of another model"):
        load_model(config_file(tmp_path, nested))


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="key 'vocab_size' twice"):
        load_model(config_file(tmp_path, '{"model_type": "llama", "vocab_size": 5, "vocab_size": 6}'))


def test_the_case_of_a_preset_does_not_matter() -> None:
    assert load_model("LLaVA-1.5-7B") is load_model("llava-1.5-7b")


def test_what_is_left_out_or_counted_as_another_class_is_said(tmp_path: Path) -> None:
    tower = '"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4'
    whole = f'{{"model_type": "clip", "text_config": {{}}, "vision_config": {{{tower}}}}}'
    assert "its text tower is left out" in load_model(config_file(tmp_path, whole)).notes[0]
    masked = f'{{"model_type": "bert", "architectures": ["BertForMaskedLM"], {tower}, "vocab_size": 100}}'
    assert (
        "counted as BertModel, though its architectures name 'BertForMaskedLM'"
        in load_model(config_file(tmp_path, masked)).notes
    )


def test_a_section_without_model_type_names_what_was_assumed(tmp_path: Path) -> None:
    spec = load_model(config_file(tmp_path, '{"model_type": "llava", "text_config": {"vocab_size": 100}}'))
    assert "text_config.model_type=llama" in spec.defaults


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    sizes = '"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4'
    text = f'\ufeff{{"model_type": "llama", {sizes}, "vocab_size": 100}}'
    assert load_model(config_file(tmp_path, text)).family == "llama"
