"""Towers from folders: every form that Hugging Face writes, bit for bit, and everything that is refused."""

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
from picture_files import (
    CLIP,
    LANGUAGE_MODEL,
    LLAVA,
    PATCHES,
    SIDE,
    TOWER,
    tower_tensors,
    write_clip,
    write_json,
    write_llava,
)

from perfkit.errors import InvalidSpec, InvalidValue, MachineError, UnknownName
from perfkit.measuring.backend import open_backend
from perfkit.pictures import tower as tower_module
from perfkit.pictures.tower import feature_layer_of, load_tower, random_tower, usual_precision
from perfkit.pictures.weights import read_tower_weights


@pytest.fixture(scope="module")
def backend():
    return open_backend("cpu")


def loaded(folder, backend, precision="fp32"):
    return load_tower(str(folder), backend, precision).module.state_dict()


def same(found, expected):
    import torch

    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def refusal(folder, backend):
    with pytest.raises(InvalidSpec) as refused:
        load_tower(str(folder), backend, "fp32")
    line = str(refused.value)
    assert str(folder) in line
    assert "\n" not in line
    return line


def write_bin(folder, content, *, zipped=True):
    import torch

    write_json(folder / "config.json", TOWER)
    torch.save(content, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    return folder


# --- every form


def test_a_safetensors_folder_is_read_bit_for_bit(tmp_path, backend):
    assert same(loaded(write_clip(tmp_path), backend), tower_tensors())


def test_what_hugging_face_itself_saves_is_read(tmp_path, backend):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    theirs = CLIPVisionModel(CLIPVisionConfig(**TOWER))
    theirs.save_pretrained(tmp_path)
    assert same(loaded(tmp_path, backend), theirs.state_dict())


def test_the_tower_of_a_whole_clip_that_hugging_face_saves_is_read(tmp_path, backend):
    from transformers import CLIPConfig, CLIPModel

    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 9,
    }
    theirs = CLIPModel(CLIPConfig(vision_config=TOWER, text_config=text, projection_dim=8))
    theirs.save_pretrained(tmp_path)
    assert same(loaded(tmp_path, backend), theirs.vision_model.state_dict())


def test_the_tower_of_a_llava_that_hugging_face_saves_is_read(tmp_path, backend):
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    theirs = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=TOWER, text_config=LANGUAGE_MODEL, image_token_index=1)
    )
    theirs.save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert same(loaded(tmp_path, backend), theirs.model.vision_tower.state_dict())


def test_of_a_llava_only_the_shards_of_the_tower_are_opened(tmp_path, backend):
    assert same(loaded(write_llava(tmp_path), backend), tower_tensors())


@pytest.mark.parametrize("prefix", ["", "vision_model.", "model.vision_tower.vision_model.", "a.b.c."])
def test_the_prefix_is_found_wherever_the_tower_stands(prefix, tmp_path, backend):
    import torch

    decoys = {
        "visual_projection.weight": torch.zeros(2, 2),
        "text_model.embeddings.token_embedding.weight": torch.zeros(2),
    }
    tensors = tower_tensors(prefix) | (decoys if prefix else {})
    assert same(loaded(write_clip(tmp_path, tensors), backend), tower_tensors())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old form"])
def test_a_bin_of_tensors_is_read(zipped, tmp_path, backend):
    assert same(loaded(write_bin(tmp_path, tower_tensors("vision_model."), zipped=zipped), backend), tower_tensors())


def test_bins_with_an_index_are_read(tmp_path, backend):
    import torch

    write_json(tmp_path / "config.json", LLAVA)
    tensors = tower_tensors("model.vision_tower.")
    names = list(tensors)
    torch.save({name: tensors[name] for name in names[:9]}, tmp_path / "a.bin")
    torch.save({name: tensors[name] for name in names[9:]}, tmp_path / "b.bin")
    homes = {name: "a.bin" if name in names[:9] else "b.bin" for name in names}
    write_json(tmp_path / "pytorch_model.bin.index.json", {"weight_map": homes})
    assert same(loaded(tmp_path, backend), tower_tensors())


def test_position_ids_of_old_files_are_left_aside(tmp_path, backend):
    import torch

    tensors = tower_tensors() | {"embeddings.position_ids": torch.arange(65).view(1, -1)}
    assert same(loaded(write_clip(tmp_path, tensors), backend), tower_tensors())


def test_half_precision_weights_become_what_the_tower_runs_in(tmp_path, backend):
    import torch

    half = {name: tensor.half() for name, tensor in tower_tensors().items()}
    assert same(loaded(write_clip(tmp_path, half), backend), {name: tensor.float() for name, tensor in half.items()})
    assert {tensor.dtype for tensor in loaded(tmp_path, backend, "bf16").values()} == {torch.bfloat16}


def test_a_link_to_a_file_elsewhere_is_followed_as_in_the_hubs_cache(tmp_path, backend):
    blob = write_clip(tmp_path / "blobs") / "model.safetensors"
    write_json(tmp_path / "snapshot" / "config.json", TOWER)
    os.symlink(blob, tmp_path / "snapshot" / "model.safetensors")
    assert same(loaded(tmp_path / "snapshot", backend), tower_tensors())


def test_a_folder_named_as_a_preset_is_the_folder(tmp_path, backend, monkeypatch):
    write_clip(tmp_path / "llava-1.5-7b")
    monkeypatch.chdir(tmp_path)
    found = load_tower("llava-1.5-7b", backend, "fp32")
    assert found.vision.image_size == SIDE
    assert found.source == str(tmp_path / "llava-1.5-7b")


def test_a_loaded_tower_says_what_it_is(tmp_path, backend):
    found = load_tower(str(write_clip(tmp_path)), backend, "fp32", -3)
    assert (found.vision.patches, found.feature_layer, found.precision, found.random) == (PATCHES, -3, "fp32", False)
    assert not found.module.training
    assert found.module.embeddings.position_ids.flatten().tolist() == list(range(1 + PATCHES))


# --- no pickle is run


class Hostile:
    """What a pickle can do to whoever loads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")  # stands for anything: here a file is made


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old form"])
def test_a_hostile_pickle_is_refused_and_does_nothing(zipped, tmp_path, backend):
    mark = tmp_path / "it was here"
    folder = write_bin(tmp_path / "tower", tower_tensors() | {"extra": Hostile(mark)}, zipped=zipped)
    assert "holds more than tensors, or is broken; it is not run" in refusal(folder, backend)
    assert not mark.exists()


def test_a_bare_pickle_is_refused_and_does_nothing(tmp_path, backend):
    mark = tmp_path / "it was here"
    folder = write_bin(tmp_path / "tower", {})
    padding = b"." + b"\0" * 400_000  # as many bytes as weights would have
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Hostile(mark)) + padding)
    refusal(folder, backend)
    assert not mark.exists()
    mark.unlink(missing_ok=True)
    pickle.loads((folder / "pytorch_model.bin").read_bytes()).close()  # noqa: S301  # it would have
    assert mark.exists()


def test_a_hostile_file_hidden_behind_safetensors_name_is_no_pickle(tmp_path, backend):
    mark = tmp_path / "it was here"
    folder = write_clip(tmp_path / "tower")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Hostile(mark)) + b"\0" * 400_000)
    assert "cannot be read as weights" in refusal(folder, backend)
    assert not mark.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old form"])
@pytest.mark.parametrize(
    "content_of",
    [lambda large: large, lambda large: [large], lambda large: {"a": 1, "b": large}],
    ids=["tensor", "list", "number"],
)
def test_a_bin_without_tensors_by_name_is_refused(content_of, zipped, tmp_path, backend):
    import torch

    content = content_of(torch.zeros(100_000))  # as many bytes as weights would have
    assert refusal(write_bin(tmp_path, content, zipped=zipped), backend).endswith("holds no tensors by name")


def test_an_older_protocol_of_pickles_is_read_and_warns_nobody(tmp_path, backend):
    import torch

    folder = write_bin(tmp_path, tower_tensors())
    torch.save(tower_tensors(), folder / "pytorch_model.bin", pickle_protocol=3)
    assert same(loaded(folder, backend), tower_tensors())  # pytest makes an error of a warning


@pytest.mark.parametrize("made", ["to_sparse", "to_sparse_csr"])
@pytest.mark.filterwarnings("ignore:Sparse")  # of torch, which calls some of it a beta
def test_sparse_tensors_are_no_weights(made, tmp_path, backend):
    tensors, name = tower_tensors(), "encoder.layers.0.mlp.fc1.weight"
    tensors[name] = getattr(tensors[name], made)()
    assert f"'{name}' is sparse_c" in refusal(write_bin(tmp_path, tensors), backend)


def test_tensors_without_numbers_are_no_weights(tmp_path, backend):
    tensors, name = tower_tensors(), "encoder.layers.0.mlp.fc1.weight"
    tensors[name] = tensors[name].to("meta")
    tensors["surplus"] = tensors["embeddings.patch_embedding.weight"].new_zeros(40_000)
    assert "'surplus', which its config.json does not know" in refusal(write_bin(tmp_path, tensors), backend)


# --- folders without the right files


def test_no_folder(tmp_path, backend):
    with pytest.raises(InvalidValue, match=r"no folder .*/nowhere.*nothing is downloaded"):
        load_tower(str(tmp_path / "nowhere"), backend, "fp32")
    with pytest.raises(InvalidValue, match="no folder 'openai/clip-vit-large-patch14-336'"):
        load_tower("openai/clip-vit-large-patch14-336", backend, "fp32")


def test_no_config(tmp_path, backend):
    assert "holds no config.json" in refusal(tmp_path, backend)


def test_no_weights(tmp_path, backend):
    write_json(tmp_path / "config.json", TOWER)
    assert "holds no weights: none of model.safetensors, model.safetensors.index.json" in refusal(tmp_path, backend)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {
                "model_type": "siglip_vision_model",
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 64,
            },
            "no tower of CLIP's ('siglip_vision_model')",
        ),
        (
            LLAVA | {"vision_config": TOWER | {"model_type": "siglip_vision_model"}},
            "no tower of CLIP's ('siglip_vision_model')",
        ),
        (LANGUAGE_MODEL, "no tower of CLIP's ('llama')"),
        ({"model_type": "mamba"}, "unknown model_type 'mamba'"),
        (
            LANGUAGE_MODEL | {"model_type": "llava", "mm_vision_tower": "openai/clip-vit-large-patch14-336"},
            "take that of openai/clip-vit-large-patch14-336",
        ),
        ({}, "model_type is missing"),
        (TOWER | {"hidden_size": "32"}, "hidden_size"),
        (TOWER | {"hidden_act": "no-such-function"}, "no-such-function"),
    ],
    ids=["siglip", "llava with siglip", "llama", "unknown", "llava's original", "empty", "text as size", "activation"],
)
def test_a_config_of_something_else(config, words, tmp_path, backend):
    write_clip(tmp_path)
    write_json(tmp_path / "config.json", config)
    assert words in refusal(tmp_path, backend)


def test_sizes_that_the_files_cannot_hold_take_no_memory(tmp_path, backend, monkeypatch):
    monkeypatch.setattr(tower_module, "_built", lambda *_: pytest.fail("memory was taken"))
    write_clip(tmp_path)
    write_json(tmp_path / "config.json", TOWER | {"num_hidden_layers": 10**8})
    assert "too few for the" in refusal(tmp_path, backend)


def test_a_tower_that_memory_cannot_hold_is_refused_with_sizes(backend, tmp_path):
    path = write_json(tmp_path / "config.json", TOWER | {"num_hidden_layers": 10**9})
    with pytest.raises(MachineError, match=r"the tower of .* in fp32 needs .*B .* are free"):
        random_tower(path, backend, "fp32")


# --- weights that do not fit


def without(tensors, *names):
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def test_a_missing_tensor_is_named(tmp_path, backend):
    name = "encoder.layers.1.self_attn.k_proj.bias"
    line = refusal(write_clip(tmp_path, without(tower_tensors(), name)), backend)
    assert f"its vision tower lacks 1 tensor, '{name}'" in line


def test_several_missing_tensors_are_counted(tmp_path, backend):
    write_clip(tmp_path)
    write_json(tmp_path / "config.json", TOWER | {"num_hidden_layers": 4})
    assert "lacks 16 tensors, the first 'encoder.layers.3.layer_norm1.bias'" in refusal(tmp_path, backend)


def test_more_layers_than_the_config_knows_are_refused(tmp_path, backend):
    write_clip(tmp_path)
    write_json(tmp_path / "config.json", TOWER | {"num_hidden_layers": 2})
    assert "has 16 tensors, the first 'encoder.layers.2.layer_norm1.bias', which its config.json" in refusal(
        tmp_path, backend
    )


def test_another_shape_is_named_with_both(tmp_path, backend):
    write_clip(tmp_path)
    write_json(tmp_path / "config.json", TOWER | {"intermediate_size": 32})
    assert "has shape [64" in refusal(tmp_path, backend)


def test_whole_numbers_are_no_weights(tmp_path, backend):
    import torch

    tensors = tower_tensors()
    tensors["pre_layrnorm.weight"] = torch.ones(32, dtype=torch.int8)
    assert "'pre_layrnorm.weight' is int8, no floating-point numbers" in refusal(write_clip(tmp_path, tensors), backend)


def test_names_out_of_a_file_stay_on_one_line(tmp_path, backend):
    import torch

    folder = write_clip(tmp_path, tower_tensors() | {"a\nb" * 100: torch.zeros(1)})
    assert len(refusal(folder, backend)) < len(str(folder)) + 220


def test_two_towers_are_ambiguous(tmp_path, backend):
    folder = write_clip(tmp_path, tower_tensors("a.") | tower_tensors("b."))
    assert "hold 2 vision towers of CLIP's kind" in refusal(folder, backend)


def test_no_tower(tmp_path, backend):
    import torch

    folder = write_clip(tmp_path, {"lm_head.weight": torch.zeros(300, 300)})
    assert "hold no vision tower of CLIP's kind (tensors *embeddings.class_embedding)" in refusal(folder, backend)


# --- broken files


@pytest.mark.parametrize("part", [0, 4, 100, 100_000])
def test_truncated_safetensors_are_refused(part, tmp_path, backend):
    path = write_clip(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:part])
    assert ("too few for" if part < 46_688 else "cannot be read as weights") in refusal(tmp_path, backend)
    with pytest.raises(InvalidSpec, match="cannot be read as weights"):
        read_tower_weights(tmp_path, {})


def test_a_header_that_promises_gigabytes_is_refused(tmp_path, backend):
    path = write_clip(tmp_path) / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])
    assert "cannot be read as weights" in refusal(tmp_path, backend)


def test_offsets_beyond_the_file_are_refused(tmp_path, backend):
    header = json.dumps({"embeddings.class_embedding": {"dtype": "F32", "shape": [32], "data_offsets": [0, 10**12]}})
    path = write_clip(tmp_path) / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + b"\0" * 400_000)
    assert "cannot be read as weights" in refusal(tmp_path, backend)


def test_a_truncated_bin_is_refused(tmp_path, backend):
    path = write_bin(tmp_path, tower_tensors()) / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:130_000])
    assert "cannot be read as weights" in refusal(tmp_path, backend)


# --- indexes


def index_of(folder, homes):
    write_json(folder / "config.json", TOWER)
    write_json(folder / "model.safetensors.index.json", {"weight_map": homes})
    return folder


@pytest.mark.parametrize(
    "file",
    ["../outside/model.safetensors", "/etc/passwd", "sub/model.safetensors", "..", "", "model.bin", 3, None, ["a"]],
    ids=repr,
)
def test_files_outside_the_folder_or_of_another_kind_are_refused(file, tmp_path, backend):
    write_clip(tmp_path / "outside")
    folder = index_of(tmp_path / "tower", dict.fromkeys(tower_tensors(), file))
    assert "weights lie beside it, in files *.safetensors, not in" in refusal(folder, backend)


def test_a_shard_that_is_not_there_is_named(tmp_path, backend):
    folder = index_of(tmp_path, dict.fromkeys(tower_tensors(), "model-1.safetensors"))
    assert "model-1.safetensors is not there" in refusal(folder, backend)


def test_so_is_one_that_the_tower_does_not_need(tmp_path, backend):
    (write_llava(tmp_path) / "model-00003-of-00003.safetensors").unlink()
    assert "model-00003-of-00003.safetensors is not there" in refusal(tmp_path, backend)


@pytest.mark.parametrize("content", [{}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": None}], ids=json.dumps)
def test_an_index_without_a_map_is_refused(content, tmp_path, backend):
    index_of(tmp_path, {})
    write_json(tmp_path / "model.safetensors.index.json", content)
    assert "weight_map must say in which file each tensor lies" in refusal(tmp_path, backend)


def test_an_index_that_lies_is_found_out(tmp_path, backend):
    folder = write_clip(tmp_path, without(tower_tensors(), "post_layernorm.bias"))
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    index_of(folder, dict.fromkeys(tower_tensors(), "a.safetensors"))
    assert "'post_layernorm.bias' is not in it, though the index says so" in refusal(folder, backend)


def test_only_what_is_wanted_is_read(tmp_path):
    write_clip(tmp_path, tower_tensors("a."))
    wanted = {name: tuple(tensor.shape) for name, tensor in tower_tensors().items()}
    assert same(read_tower_weights(Path(tmp_path), wanted), tower_tensors())


# --- random towers


def test_random_towers_are_the_same_at_every_call(backend, tmp_path):
    path = write_json(tmp_path / "config.json", LLAVA)
    one, other = (random_tower(path, backend, "fp32") for _ in range(2))
    assert same(one.module.state_dict(), other.module.state_dict())
    assert one.random
    assert (one.vision.patches, one.preprocessing.side) == (PATCHES, SIDE)


@pytest.mark.parametrize("model", ["vicuna-7b", "siglip-so400m", "llava-onevision-7b"])
def test_models_without_a_clip_tower_are_refused(model, backend):
    with pytest.raises(InvalidSpec, match=f"{model}: has no tower of CLIP's"):
        random_tower(model, backend, "fp32")


def test_an_unknown_model_names_the_nearest(backend):
    with pytest.raises(UnknownName, match=r"llava-1.5-7b"):
        random_tower("llava-1.5-7", backend, "fp32")


def test_a_cpu_runs_its_tower_in_fp32(backend):
    assert usual_precision(backend) == "fp32"


@pytest.mark.parametrize(("config", "layer"), [(LLAVA, -2), (LLAVA | {"vision_feature_layer": -1}, -1), (CLIP, -2)])
def test_features_come_from_the_layer_that_the_model_names(config, layer, tmp_path):
    assert feature_layer_of(write_json(tmp_path / "config.json", config)) == layer


@pytest.mark.parametrize("layer", [[-2, -3], "last", True, 1.5])
def test_features_of_several_layers_are_refused(layer, tmp_path):
    path = write_json(tmp_path / "config.json", LLAVA | {"vision_feature_layer": layer})
    with pytest.raises(InvalidValue, match="features come from one layer"):
        feature_layer_of(path)
