"""A reducer inside a small LLaVA: what the language model sees, against prompts put together by hand."""

import inspect
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
import transformers
from doubles import quick_torch
from torch.utils.flop_counter import FlopCounterMode

from perfkit.errors import InvalidValue, UnknownName
from perfkit.reduction import reduce, reduced

IMAGE, PAD, END = 1, 3, 49  # padding by another id than 0, which tensors are filled with by themselves
LAYERS, WIDTH, SIDE, PATCH, INNER = 4, 64, 56, 14, 96
PATCHES = (SIDE // PATCH) ** 2  # 16
HOLES = [IMAGE] * PATCHES
BEFORE, AFTER = [5, 6, 7], [8, 9, 10, 11]
PROMPT = BEFORE + HOLES + AFTER  # 3 + 16 + 4 = 23 tokens
METHODS = [
    ("prumerge", None),
    ("prumerge", 0.25),
    ("prumerge", 1.0),
    ("prumerge+", 0.5),
    ("sequential:n=4", None),
    ("spatial", 0.5),
    ("random:n=5", None),
]


@pytest.fixture(autouse=True, scope="module")
def quick():
    with quick_torch():
        yield


def config(**changes):
    values = {
        "text_config": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 50,
            "max_position_embeddings": 512,
            "bos_token_id": None,
            "eos_token_id": END,
            "pad_token_id": PAD,
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": WIDTH,
            "image_size": SIDE,
            "patch_size": PATCH,
            "intermediate_size": INNER,
            "num_attention_heads": 4,
            "num_hidden_layers": LAYERS,
        },
        "image_token_index": IMAGE,
    }
    return transformers.LlavaConfig.from_dict({**values, **changes})


def build(**changes):
    """A model whose attention is not flat, so that pictures keep different counts of tokens."""
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration._from_config(config(**changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.25)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = PAD, END
    return model


@pytest.fixture(scope="module")
def shared():
    return build()


@pytest.fixture
def model(shared):
    """The one model, and a check that a test leaves nothing in it."""
    before = vars(shared).copy(), vars(shared.model).copy()
    yield shared
    vars(shared).pop("_previous_max_cache_length", None)  # what Hugging Face remembers of a static cache
    assert before == (vars(shared), vars(shared.model))
    shared.set_attn_implementation("sdpa")


@pytest.fixture(autouse=True)
def without_gradients(request):
    with torch.set_grad_enabled("gradients" in request.node.name):
        yield


def pictures(count, seed=1):
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def batch(*rows):
    """Rows padded on the left: ids and mask."""
    longest = max(map(len, rows))
    ids = [[PAD] * (longest - len(row)) + row for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


# --- by hand: the tower as Hugging Face runs it, hooks on its last layer, and a prompt put together piece by piece


def by_hand(model, pixels, method, ratio=None, **settings):
    """(tokens of an image, hidden of the language model) of each image."""
    tower, seen = model.model.vision_tower, {}
    attention = tower.encoder.layers[-1].self_attn
    handles = [
        getattr(attention, name).register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
        for name in ("q_proj", "k_proj")
    ]
    features = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    for handle in handles:
        handle.remove()
    torch.manual_seed(7)
    left = reduce(method, features, seen["q_proj"], seen["k_proj"], ratio, **settings)
    return [
        model.model.multi_modal_projector(tokens[mask]) for tokens, mask in zip(left.tokens, left.mask, strict=True)
    ]


def prompt_of(model, row, images):
    """(1, tokens, hidden): embeddings of a row in which each run of placeholders is an image, which `images` gives."""
    pieces, place, words = [], 0, model.get_input_embeddings()
    while place < len(row):
        if row[place] == IMAGE:
            pieces.append(next(images))
            place += PATCHES
        else:
            pieces.append(words(torch.tensor([row[place]])))
            place += 1
    return torch.cat(pieces).unsqueeze(0)


def greedy(model, prompt, steps):
    """New tokens of one prompt (1, tokens, hidden), by a loop over forward."""
    found, cache, given = [], None, {"inputs_embeds": prompt}
    for _ in range(steps):
        output = model(**given, past_key_values=cache, use_cache=True)
        cache, token = output.past_key_values, output.logits[0, -1].argmax()
        found.append(int(token))
        if found[-1] == END:
            break
        given = {"input_ids": token.view(1, 1)}
    return found


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Watching:
    """Arguments that a module is called with in a block."""

    def __init__(self, module):
        self.calls, self.module = [], module

    def __enter__(self):
        self.handle = self.module.register_forward_pre_hook(
            lambda _, args, kwargs: self.calls.append(kwargs or args), with_kwargs=True
        )
        return self

    def __exit__(self, *_):
        self.handle.remove()


# --- forward


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("method", "ratio"), METHODS)
def test_forward_computes_what_a_prompt_put_together_by_hand_gives(model, method, ratio, attention):
    model.set_attn_implementation(attention)
    pixels = pictures(1)
    images = by_hand(model, pixels, method, ratio)
    expected = model(inputs_embeds=prompt_of(model, PROMPT, iter(images))).logits
    torch.manual_seed(7)  # random tokens are those that were drawn by hand
    with reduced(model, method, ratio) as last:
        output = model(input_ids=torch.tensor([PROMPT]), pixel_values=pixels)
    close(output.logits, expected)
    assert output.logits.shape[1] == 23 - 16 + len(images[0])
    assert output.past_key_values.get_seq_length() == 23 - 16 + len(images[0])
    assert last.images.counts.tolist() == [len(images[0])]
    assert last.attention_mask is None
    close(output.image_hidden_states, images[0])


@pytest.mark.parametrize("settings", [{"neighbours": 2}, {"neighbours": 2, "strict_reference": True}])
def test_settings_reach_the_reducer(model, settings):
    pixels, ids = pictures(6), torch.tensor([PROMPT * 6])
    images = by_hand(model, pixels, "prumerge", **settings)
    with reduced(model, "prumerge", None, *settings.values()):
        found = model(ids, pixels).image_hidden_states
    close(found, torch.cat(images))
    with reduced(model, "prumerge", None, *list(settings.values())[:-1]):
        other = model(ids, pixels).image_hidden_states
    assert other.shape != found.shape or not torch.allclose(other, found, atol=1e-3)


def test_ratio_one_keeps_every_patch_and_prumerge_appends_one_more(model):
    pixels, ids = pictures(2), torch.tensor([PROMPT, PROMPT])
    with reduced(model, "prumerge", 1.0) as last:
        assert model(ids, pixels).logits.shape[1] == 23 + 1
    assert last.images.counts.tolist() == [17, 17]


@pytest.mark.parametrize("method", ["sequential", "spatial"])
def test_all_tokens_in_their_order_are_the_model_without_a_reducer(model, method):
    given = {**batch(PROMPT, BEFORE + PROMPT), "pixel_values": pictures(2)}
    expected = model(**given).logits
    made = model.generate(**given, max_new_tokens=6)
    with reduced(model, method, 1.0):
        close(model(**given).logits[given["attention_mask"] == 1], expected[given["attention_mask"] == 1])
        assert torch.equal(model.generate(**given, max_new_tokens=6), made)


ROWS = [
    BEFORE + HOLES + AFTER,  # one image
    HOLES + HOLES,  # two, with nothing between, before or after
    [12, 13],  # none
    BEFORE + HOLES + AFTER + HOLES + AFTER + HOLES + [14],  # three
    AFTER * 12,  # longer than any of them will be
]
IMAGES = [1, 2, 0, 3, 0]


def images_by_row(images):
    places = [sum(IMAGES[:row]) for row in range(len(ROWS) + 1)]
    return [images[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize("masked", [True, False])
def test_every_row_of_a_ragged_batch_gives_what_the_row_gives_alone(model, masked):
    pixels = pictures(6)
    images = by_hand(model, pixels, "prumerge")
    assert len({len(each) for each in images}) > 1, "the images keep different counts"
    rows = ROWS if masked else [[*row, *AFTER * 20][: len(ROWS[3])] for row in ROWS]  # without a mask: equally long
    given = batch(*rows) if masked else {"input_ids": torch.tensor(rows)}
    with reduced(model, "prumerge") as last, Watching(model.model.language_model) as seen:
        output = model(**given, pixel_values=pixels)
    (call,) = seen.calls
    lengths = []
    for number, (row, own) in enumerate(zip(rows, images_by_row(images), strict=True)):
        prompt = prompt_of(model, row, iter(own))
        length = prompt.shape[1]
        lengths.append(length)
        assert length == len(row) - 16 * len(own) + sum(map(len, own))
        close(call["inputs_embeds"][number, -length:], prompt[0])
        close(output.logits[number, -length:], model(inputs_embeds=prompt).logits[0])
        assert call["position_ids"][number, -length:].tolist() == list(range(length))
    assert call["attention_mask"].sum(dim=1).tolist() == lengths
    assert call["attention_mask"].shape == (5, max(lengths))
    assert (call["attention_mask"].diff(dim=1) >= 0).all(), "padding is on the left"
    assert torch.equal(last.attention_mask, call["attention_mask"])


def test_padding_that_is_no_longer_needed_goes(model):
    # 23 tokens and 4 of text padded to 23; of the image 2 are left: 3 + 2 + 4 = 9 tokens, where 23 would see none gone
    with reduced(model, "sequential:n=2"), Watching(model.model.language_model) as seen:
        model(**batch(PROMPT, AFTER), pixel_values=pictures(1))
    assert seen.calls[0]["attention_mask"].tolist() == [[1] * 9, [0] * 5 + [1] * 4]


def test_padding_on_the_right_stays(model):
    ids, mask = torch.tensor([[*PROMPT, PAD, PAD]]), torch.tensor([[1] * 23 + [0, 0]])
    with reduced(model, "sequential:n=2"), Watching(model.model.language_model) as seen:
        model(input_ids=ids, attention_mask=mask, pixel_values=pictures(1))
    assert seen.calls[0]["attention_mask"].tolist() == [[1] * 9 + [0, 0]]
    assert seen.calls[0]["position_ids"].tolist() == [[*range(9), 0, 0]]


def test_without_a_mask_equal_rows_get_none(model):
    with reduced(model, "sequential:n=2"), Watching(model.model.language_model) as seen:
        model(input_ids=torch.tensor([PROMPT, PROMPT]), pixel_values=pictures(2))
    assert seen.calls[0]["attention_mask"] is None
    assert seen.calls[0]["position_ids"] is None


def test_what_belongs_to_tokens_is_shortened_with_them(model):
    ids = torch.tensor([[*PROMPT, *[9] * 12], HOLES + BEFORE + HOLES])  # 35 tokens each
    given = {"position_ids": torch.arange(100, 135).unsqueeze(0), "token_type_ids": ids + 1}  # one row for all
    with reduced(model, "sequential:n=2"), Watching(model.model.language_model) as seen:
        model(input_ids=ids, pixel_values=pictures(3), **given)
    (call,) = seen.calls
    # 35 - 16 + 2 = 21 tokens; 35 - 2 * 16 + 2 * 2 = 7 of them, after 14 of padding
    first = [100, 101, 102, 103, 104, *range(119, 135)]
    second = [0] * 14 + [100, 101, 116, 117, 118, 119, 120]
    assert call["position_ids"].tolist() == [first, second]
    assert call["token_type_ids"].tolist() == [
        [6, 7, 8, 2, 2, 9, 10, 11, 12, *[10] * 12],
        [0] * 14 + [2, 2, 6, 7, 8, 2, 2],
    ]
    assert call["attention_mask"].tolist() == [[1] * 21, [0] * 14 + [1] * 7]


def test_labels_are_shortened_and_padding_is_no_target(model):
    pixels = pictures(3)
    ids = torch.tensor([[*PROMPT, *[9] * 12], HOLES + BEFORE + HOLES])
    labels = ids.masked_fill(ids == IMAGE, -100)
    with reduced(model, "sequential:n=2"):
        output = model(input_ids=ids, pixel_values=pixels, labels=labels)
    # By hand: the next token of each position of each row, images and padding left out.
    kept = [[*BEFORE, -100, -100, *AFTER, *[9] * 12], [-100] * 14 + [-100, -100, *BEFORE, -100, -100]]
    targets = torch.tensor(kept)[:, 1:].flatten()
    expected = torch.nn.functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), targets, ignore_index=-100)
    close(output.loss, expected)


def test_arguments_may_stand_in_their_places(model):
    pixels, ids = pictures(1), torch.tensor([PROMPT])
    with reduced(model, "sequential:n=2"):
        named = model(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids)).logits
        placed = model(ids, pixels, torch.ones_like(ids)).logits
        assert torch.equal(model.generate(ids, pixel_values=pixels, max_new_tokens=2)[:, :23], ids)
    assert torch.equal(named, placed)
    assert named.shape[1] == 9


def test_a_tuple_is_returned_where_one_is_asked_for(model):
    pixels, ids = pictures(1), torch.tensor([PROMPT])
    with reduced(model, "sequential:n=2"):
        expected = model(ids, pixels).logits
        assert torch.equal(model(ids, pixels, return_dict=False)[0], expected)


def test_the_layer_of_a_call_is_the_one_that_is_taken(model):
    pixels = pictures(1)
    embeddings = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[1][:, 1:3]
    with reduced(model, "sequential:n=2"):
        found = model(torch.tensor([PROMPT]), pixels, vision_feature_layer=1).image_hidden_states
    close(found, model.model.multi_modal_projector(embeddings)[0])


def test_a_cache_may_go_before(model):
    pixels, first = pictures(2), torch.tensor([[20, 21, 22], [23, 24, 25]])
    images = by_hand(model, pixels, "prumerge")
    assert len(images[0]) != len(images[1])
    with reduced(model, "prumerge"):
        past = model(first).past_key_values
        found = model(torch.tensor([PROMPT, PROMPT]), pixels, past_key_values=past).logits
    for row, image in enumerate(images):
        prompt = prompt_of(model, first[row].tolist() + PROMPT, iter([image]))
        close(found[row, -4:], model(inputs_embeds=prompt).logits[0, -4:])


def test_a_mask_may_be_longer_by_a_past(model):
    pixels, first = pictures(1), torch.tensor([[PAD, 21, 22]])
    (image,) = by_hand(model, pixels, "sequential:n=2")
    mask = torch.tensor([[0, 1, 1] + [1] * 23])
    with reduced(model, "sequential:n=2"), Watching(model.model.language_model) as seen:
        past = model(first, attention_mask=mask[:, :3], position_ids=torch.tensor([[0, 0, 1]])).past_key_values
        found = model(torch.tensor([PROMPT]), pixels, mask, past_key_values=past).logits
    assert seen.calls[1]["attention_mask"].tolist() == [[0, 1, 1] + [1] * 9]
    assert seen.calls[1]["position_ids"].tolist() == [list(range(2, 11))]
    close(found[0], model(inputs_embeds=prompt_of(model, [21, 22, *PROMPT], iter([image]))).logits[0, 2:])


def test_another_format_is_kept():
    half = build().to(torch.bfloat16)
    with reduced(half, "prumerge"):
        assert half(torch.tensor([PROMPT]), pictures(1)).logits.dtype == torch.bfloat16


def test_images_come_in_the_format_of_the_words():
    mixed = build()
    mixed.model.language_model.to(torch.bfloat16)
    mixed.lm_head.to(torch.bfloat16)
    with reduced(mixed, "prumerge"), Watching(mixed.model.language_model) as seen:
        assert mixed(torch.tensor([PROMPT]), pictures(1)).logits.dtype == torch.bfloat16
    assert seen.calls[0]["inputs_embeds"].dtype == torch.bfloat16


def test_a_number_of_last_tokens_is_kept(model):
    ids, pixels = torch.tensor([PROMPT]), pictures(1)
    with reduced(model, "sequential:n=2"):
        whole = model(ids, pixels).logits
        close(model(ids, pixels, logits_to_keep=3).logits, whole[:, -3:])


def test_gradients_reach_tower_and_projector():
    model = build()
    with reduced(model, "prumerge", 0.25):
        ids = torch.tensor([PROMPT])
        model(ids, pictures(1), labels=ids.masked_fill(ids == IMAGE, -100)).loss.backward()
    assert model.model.multi_modal_projector.linear_1.weight.grad.abs().sum() > 0
    assert model.model.vision_tower.encoder.layers[0].mlp.fc1.weight.grad.abs().sum() > 0


def test_generate_keeps_no_gradients():
    model = build()
    with reduced(model, "prumerge") as last:
        model.generate(torch.tensor([PROMPT]), pixel_values=pictures(1), max_new_tokens=1)
    assert not last.images.tokens.requires_grad


# --- generate


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("method", "ratio"), METHODS)
def test_generate_makes_what_a_loop_by_hand_makes(model, method, ratio, attention):
    model.set_attn_implementation(attention)
    pixels, ids = pictures(1, seed=2), torch.tensor([PROMPT])
    images = by_hand(model, pixels, method, ratio)
    expected = greedy(model, prompt_of(model, PROMPT, iter(images)), 7)
    torch.manual_seed(7)
    with reduced(model, method, ratio) as last:
        made = model.generate(
            input_ids=ids, pixel_values=pixels, max_new_tokens=7, do_sample=False, return_dict_in_generate=True
        )
    assert made.sequences[0].tolist() == PROMPT + expected
    # The last new token is in no cache yet: 23 - 16 of text, the image, and all new tokens but one.
    assert made.past_key_values.get_seq_length() == 7 + len(images[0]) + len(expected) - 1
    assert last.images.counts.tolist() == [len(images[0])]


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}])
def test_rows_of_a_ragged_batch_are_continued_as_they_are_alone(model, settings):
    pixels, given = pictures(6), batch(*ROWS)
    images = images_by_row(by_hand(model, pixels, "prumerge"))
    with reduced(model, "prumerge"):
        made = model.generate(**given, pixel_values=pixels, max_new_tokens=6, **settings)
    each = settings.get("num_return_sequences", 1)
    length = given["input_ids"].shape[1]
    assert torch.equal(made[:, :length], given["input_ids"].repeat_interleave(each, dim=0))
    for number, (row, own) in enumerate(zip(ROWS, images, strict=True)):
        prompt = prompt_of(model, row, iter(own))
        alone = model.generate(inputs_embeds=prompt, max_new_tokens=6, **settings)  # new tokens only
        found = made[number * each : (number + 1) * each, length:]
        assert torch.equal(found[:, : alone.shape[1]], alone)
        assert (found[:, alone.shape[1] :] == PAD).all()


def test_mask_and_positions_of_every_step(model):
    pixels = pictures(1)
    with reduced(model, "sequential:n=2"), Watching(model.model.language_model) as seen:
        model.generate(**batch(PROMPT, AFTER), pixel_values=pixels, max_new_tokens=3, min_new_tokens=3)
    # 3 + 2 + 4 = 9 and 4 tokens, then one more a step
    assert [call["attention_mask"].shape[1] for call in seen.calls] == [9, 10, 11]
    assert [call["inputs_embeds"].shape[1] for call in seen.calls] == [9, 1, 1]
    assert seen.calls[0]["position_ids"].tolist() == [list(range(9)), [0] * 5 + [0, 1, 2, 3]]
    assert [call["position_ids"].tolist() for call in seen.calls[1:]] == [[[9], [4]], [[10], [5]]]


def test_rows_are_padded_by_the_id_for_it(model):
    seen, given, pixels = [], batch(PROMPT, AFTER), pictures(1)
    settings = {"pixel_values": pixels, "max_new_tokens": 4, "min_new_tokens": 4}
    look = transformers.LogitsProcessorList([lambda ids, scores: seen.append(ids) or scores])
    with reduced(model, "sequential:n=2"):
        expected = model.generate(**given, **settings, logits_processor=look)
        # Padding that looks like a placeholder is none of an image.
        found = model.generate(**given, **settings, pad_token_id=IMAGE)
    assert seen[0].tolist() == [[*BEFORE, IMAGE, IMAGE, *AFTER], [PAD] * 5 + AFTER]
    assert torch.equal(found, expected)


@pytest.mark.parametrize("method", ["prumerge", "sequential:n=2"])
def test_padding_that_nobody_masked_is_found_by_its_id(model, method):
    given, pixels = batch(PROMPT, BEFORE + HOLES), pictures(2)
    with reduced(model, method):
        expected = model.generate(**given, pixel_values=pixels, max_new_tokens=5)
        found = model.generate(input_ids=given["input_ids"], pixel_values=pixels, max_new_tokens=5)
        assert torch.equal(found, expected)
        # A row that ends with its padding's id says nothing of padding.
        blind = model.generate(
            input_ids=given["input_ids"], pixel_values=pixels, max_new_tokens=5, eos_token_id=[END, PAD]
        )
    assert not torch.equal(blind, expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"output_scores": True, "return_dict_in_generate": True},
    ],
)
def test_other_ways_to_generate_greedily_make_the_same(model, settings):
    pixels, ids = pictures(1, seed=2), torch.tensor([PROMPT])
    expected = greedy(model, prompt_of(model, PROMPT, iter(by_hand(model, pixels, "prumerge"))), 7)
    with reduced(model, "prumerge"):
        made = model.generate(ids, pixel_values=pixels, max_new_tokens=7, **settings)
    sequences = made if isinstance(made, torch.Tensor) else made.sequences
    assert sequences[0].tolist() == PROMPT + expected


def test_samples_are_those_of_the_seed(model):
    pixels, ids = pictures(1), torch.tensor([PROMPT])
    prompt = prompt_of(model, PROMPT, iter(by_hand(model, pixels, "prumerge")))
    settings = {"max_new_tokens": 6, "do_sample": True, "num_return_sequences": 3}
    torch.manual_seed(3)
    expected = model.generate(inputs_embeds=prompt, **settings)
    with reduced(model, "prumerge"):
        torch.manual_seed(3)
        made = model.generate(ids, pixel_values=pixels, **settings)
    assert torch.equal(made[:, :23], ids.expand(3, -1))
    assert torch.equal(made[:, 23:], expected)


def test_words_of_the_prompt_can_be_forbidden(model):
    pixels, row = pictures(1), [*PROMPT, *({*range(END)} - {PAD, IMAGE})]  # every word but padding and the end
    with reduced(model, "sequential:n=2"):
        free = model.generate(torch.tensor([row]), pixel_values=pixels, max_new_tokens=4)
        bound = model.generate(torch.tensor([row]), pixel_values=pixels, max_new_tokens=4, no_repeat_ngram_size=1)
    assert set(free[0, len(row) :].tolist()) - {PAD, END}
    assert set(bound[0, len(row) :].tolist()) <= {PAD, END}


@pytest.mark.parametrize("in_config", [False, True])
def test_lengths_count_the_callers_own_prompt(model, in_config):
    pixels, ids = pictures(1), torch.tensor([PROMPT])
    limits = {"max_length": 28, "min_length": 28}
    given = {"generation_config": transformers.GenerationConfig(**limits)} if in_config else limits
    with reduced(model, "sequential:n=2"):
        assert model.generate(ids, pixel_values=pixels, **given).shape[1] == 28
        assert model.generate(ids, pixel_values=pixels, **given, max_new_tokens=9).shape[1] == 32
    if in_config:
        assert (given["generation_config"].max_length, given["generation_config"].min_length) == (28, 28)


def test_a_maximum_of_the_models_own_counts_the_callers_own_prompt(model):
    pixels, ids = pictures(1), torch.tensor([PROMPT])
    model.generation_config.max_length = 26
    try:
        with reduced(model, "prumerge", 1.0):  # one token more than there were
            assert model.generate(ids, pixel_values=pixels).shape[1] <= 26
        with reduced(model, "sequential:n=2"):
            assert model.generate(ids, pixel_values=pixels, min_new_tokens=3).shape[1] == 26
    finally:
        model.generation_config.max_length = None


def test_a_conversation_goes_on_from_its_cache(model):
    pixels, rows = pictures(3), [PROMPT, HOLES + AFTER + HOLES]
    images = by_hand(model, pixels, "prumerge")
    given = batch(*rows)
    with reduced(model, "prumerge"), Watching(model.model.language_model) as seen:
        first = model.generate(
            **given, pixel_values=pixels, max_new_tokens=4, min_new_tokens=4, return_dict_in_generate=True
        )
        said = torch.cat((first.sequences, torch.tensor([[30, 31, 32], [33, 34, 35]])), dim=1)
        mask = torch.cat((given["attention_mask"], torch.ones(2, 7, dtype=torch.long)), dim=1)
        second = model.generate(
            said, attention_mask=mask, pixel_values=pixels, past_key_values=first.past_key_values, max_new_tokens=4
        )
    assert seen.calls[4]["inputs_embeds"].shape[1] == 1 + 3  # the last token made, and what was said then
    assert torch.equal(second[:, : said.shape[1]], said)
    for number, own in enumerate([images[:1], images[1:]]):
        row = rows[number] + said[number, given["input_ids"].shape[1] :].tolist()
        expected = greedy(model, prompt_of(model, row, iter(own)), 4)
        assert second[number, said.shape[1] :].tolist()[: len(expected)] == expected


# --- what runs, and what does not


def test_the_tower_runs_once_and_the_projector_on_what_is_left(model):
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    with reduced(model, "prumerge") as last, Watching(tower.embeddings) as tower_calls, Watching(projector) as calls:
        model.generate(torch.tensor([PROMPT]), pixel_values=pictures(1), max_new_tokens=4, num_beams=3)
        assert [call[0].shape for call in calls.calls] == [(int(last.images.counts.sum()), WIDTH)]
        model(torch.tensor([PROMPT]), pictures(1))
    assert len(tower_calls.calls) == len(calls.calls) == 2


@pytest.mark.parametrize(
    ("method", "ran"),
    [("prumerge", {"layer_norm1", "self_attn.q_proj", "self_attn.k_proj"}), ("spatial:n=4", set())],
)
def test_of_the_last_layer_runs_what_the_method_reads(model, method, ran):
    layer, found = model.model.vision_tower.encoder.layers[-1], set()
    handles = [
        part.register_forward_hook(lambda *_, name=name: found.add(name)) for name, part in layer.named_modules()
    ]
    with reduced(model, method):
        model.generate(torch.tensor([PROMPT]), pixel_values=pictures(1), max_new_tokens=2)
    for handle in handles:
        handle.remove()
    assert found == ran


# Multiply-adds twice, one image and a prompt of 3 + 16 + 4 tokens, of which n stand for the image:
EMBEDDING = 2 * 16 * WIDTH * 3 * PATCH**2  # 2 * 16 * 64 * 588 = 1204224
TOWER_LAYER = 2 * 17 * (4 * WIDTH**2 + 2 * WIDTH * INNER) + 4 * 17**2 * WIDTH  # 34 * 28672 + 73984 = 1048832
KEYS = 2 * 17 * WIDTH**2 + 2 * WIDTH**2  # 139264 + 8192 = 147456


def projector(n):
    return 2 * n * (WIDTH * 32 + 32 * 32)  # 6144 n


def language_model(tokens):
    # q and o 32 x 32, k and v 32 x 16, three matrices 32 x 48; two attention products; the head on every token
    layer = 2 * tokens * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48) + 4 * tokens**2 * 32
    return 3 * layer + 2 * tokens * 32 * 50


def angles(model, tokens):
    """The rotary angles, which some versions of transformers make by a product."""
    return flops(lambda: model.model.language_model.rotary_emb(torch.zeros(1), torch.arange(tokens).unsqueeze(0)))


def flops(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def test_products_are_those_of_fewer_tokens(model):
    model.set_attn_implementation("eager")  # torch counts fused attention on a CPU as nothing
    ids, pixels = torch.tensor([PROMPT]), pictures(1)
    whole = EMBEDDING + 4 * TOWER_LAYER + projector(16) + language_model(23) + angles(model, 23)
    assert flops(lambda: model(ids, pixels)) == whole
    with reduced(model, "sequential:n=2"):
        without_keys = EMBEDDING + 3 * TOWER_LAYER + projector(2) + language_model(9) + angles(model, 9)
        assert flops(lambda: model(ids, pixels)) == without_keys
    # Cosines of 2 kept keys with 16 (2 * 2 * 16 * 64), the rest's weighted sum (2 * 16 * 64); scores and merging are no
    # matrix products.
    with reduced(model, "prumerge", 0.125) as last:
        with_keys = EMBEDDING + 3 * TOWER_LAYER + KEYS + 4096 + 2048 + projector(3) + language_model(10)
        assert flops(lambda: model(ids, pixels)) == with_keys + angles(model, 10)
    assert last.images.counts.tolist() == [3]


# --- undone


def test_the_model_is_what_it_was(model):
    given = {**batch(PROMPT, AFTER), "pixel_values": pictures(1)}
    before, keys = model(**given).logits, list(vars(model))
    made = model.generate(**given, max_new_tokens=4)
    with reduced(model, "prumerge"):
        assert model(**given).logits.shape != before.shape
        model.generate(**given, max_new_tokens=4)
    assert torch.equal(model(**given).logits, before)
    assert torch.equal(model.generate(**given, max_new_tokens=4), made)
    assert list(vars(model)) == keys


def test_the_model_is_what_it_was_after_an_error(model):
    ids, pixels = torch.tensor([PROMPT]), pictures(1)
    before = model(ids, pixels).logits
    with pytest.raises(ZeroDivisionError), reduced(model, "prumerge"):
        raise ZeroDivisionError
    with pytest.raises(InvalidValue), reduced(model, "prumerge"):
        model(ids[:, 1:5], pixels)
    assert torch.equal(model(ids, pixels).logits, before)
    with reduced(model, "prumerge"):  # and it can be reduced again
        assert model(ids, pixels).logits.shape != before.shape


def test_a_forward_of_the_models_own_comes_back(model):
    own, calls = model.forward, []

    def forward(**kwargs):
        calls.append(sorted(kwargs))
        return own(**kwargs)

    model.forward = forward
    try:
        with reduced(model, "prumerge"):
            model(input_ids=torch.tensor([PROMPT]), pixel_values=pictures(1))
        assert vars(model)["forward"] is forward
    finally:
        del model.forward
    assert "inputs_embeds" in calls[0]


def test_one_block_does_not_stand_in_another(model):
    with reduced(model, "prumerge"):
        with (
            pytest.raises(InvalidValue, match="the model is reduced already: blocks of reduced"),
            reduced(model, "random:n=2"),
        ):
            pass
        assert model(torch.tensor([PROMPT]), pictures(1)).logits.shape[1] < 23
    assert "forward" not in vars(model)


def test_a_copy_is_made_outside_of_the_block_alone(model):
    ids, pixels = torch.tensor([PROMPT]), pictures(1)
    with reduced(model, "sequential:n=2"), pytest.raises(InvalidValue, match="copy it before the block"):
        deepcopy(model)
    other = deepcopy(model)
    with reduced(model, "sequential:n=2"):
        assert (model(ids, pixels).logits.shape[1], other(ids, pixels).logits.shape[1]) == (9, 23)


def test_blocks_of_two_models_do_not_meet(model):
    other, ids, pixels = build(), torch.tensor([PROMPT]), pictures(1)
    with reduced(model, "sequential:n=2"), reduced(other, "sequential:n=3"):
        assert (model(ids, pixels).logits.shape[1], other(ids, pixels).logits.shape[1]) == (9, 10)


def test_generate_sees_the_signatures_of_the_models_own(model):
    forward, generate = inspect.signature(model.forward), inspect.signature(model.generate)
    with reduced(model, "prumerge"):
        assert inspect.signature(model.forward) == forward
        assert inspect.signature(model.generate) == generate
        with pytest.raises(ValueError, match=r"model_kwargs.*max_new_tokes"):
            model.generate(torch.tensor([PROMPT]), pixel_values=pictures(1), max_new_tokes=3)


def test_calls_without_pixels_are_the_models_own(model):
    ids = torch.tensor([AFTER])
    expected, made = model(ids).logits, model.generate(ids, max_new_tokens=3)
    with reduced(model, "prumerge") as last:
        assert torch.equal(model(ids).logits, expected)
        assert torch.equal(model.generate(ids, max_new_tokens=3), made)
        assert torch.equal(model(inputs_embeds=model.get_input_embeddings()(ids)).logits, expected)
    assert last.images is last.attention_mask is None


def test_images_that_are_skipped_leave_no_placeholder(model):
    pixels = pictures(2)
    pixels[0, 0, 0, 0] = torch.nan
    with reduced(model, "prumerge", non_finite="skip") as last:
        logits = model(torch.tensor([PROMPT + HOLES]), pixels).logits
    assert last.images.counts[0] == 0
    assert logits.shape[1] == 7 + last.images.counts[1]
    close(
        logits,
        model(
            inputs_embeds=prompt_of(model, [*BEFORE, *AFTER, *HOLES], iter(by_hand(model, pixels[1:], "prumerge")))
        ).logits,
    )
    with reduced(model, "prumerge"), pytest.raises(InvalidValue, match="not finite"):
        model(torch.tensor([PROMPT + HOLES]), pixels)


# --- refusals


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vision_feature_layer": [-2, -1]}, "features must come from one layer"),
        ({"vision_feature_layer": -7}, "there is no feature layer -7"),
        ({"vision_feature_select_strategy": "full"}, "vision_feature_select_strategy must be 'default'"),
    ],
)
def test_models_that_take_their_features_otherwise_are_refused(changes, said):
    with pytest.raises(InvalidValue, match=said), reduced(build(**changes), "prumerge"):
        pass


def test_what_is_no_llava_is_refused(model):
    said = r"the model is a LlavaModel; reduced\(\) takes a LlavaForConditionalGeneration"
    with pytest.raises(InvalidValue, match=said), reduced(model.model, "prumerge"):
        pass


def test_another_tower_is_refused():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "image_size": SIDE, "patch_size": PATCH}
    heads = {"num_hidden_layers": 1, "num_attention_heads": 2}
    siglip = build(vision_config={"model_type": "siglip_vision_model", **sizes, **heads})
    with pytest.raises(InvalidValue, match="the vision tower is a SiglipVisionModel"), reduced(siglip, "prumerge"):
        pass


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"method": "fastv"}, InvalidValue, "drops tokens inside the language model"),
        ({"method": "prumerg"}, UnknownName, "nearest: prumerge"),
        ({"method": "prumerge", "ratio": 2}, InvalidValue, "ratio must be .* at most 1, not 2"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_runs(model, settings, error, said):
    with pytest.raises(error, match=said), reduced(model, **settings):
        pass


IDS, PIXELS = torch.tensor([PROMPT]), pictures(1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"input_ids": IDS[:, 1:5]},
            "row 0 of input_ids has 2 image placeholders; the model's processor makes 16 an image",
        ),
        ({"input_ids": torch.tensor([AFTER])}, "input_ids have placeholders of 0 images, pixel_values 1 images"),
        ({"pixel_values": pictures(2)}, "input_ids have placeholders of 1 images, pixel_values 2 images"),
        ({"input_ids": None}, r"pixel_values need input_ids \(batch, length\) beside them"),
        ({"input_ids": IDS[0]}, r"pixel_values need input_ids \(batch, length\) beside them"),
        ({"inputs_embeds": torch.zeros(1, 23, 32)}, "inputs_embeds beside pixel_values: only one of them"),
        ({"pixel_values": torch.zeros(1, 3, 28, 28)}, r"pixels must be a tensor \(images, 3, 56, 56\)"),
        (
            {"attention_mask": torch.ones(1, 22)},
            r"attention_mask must be \(1, 23\), longer by a past at most, not \(1, 22\)",
        ),
        ({"attention_mask": torch.ones(1, 1, 23, 23)}, r"not \(1, 1, 23, 23\)"),
        ({"position_ids": torch.ones(1, 22)}, r"position_ids must be \(1, 23\) like input_ids, not \(1, 22\)"),
        ({"vision_feature_layer": [-2, -1]}, "features must come from one layer"),
        ({"vision_feature_select_strategy": "full"}, "vision_feature_select_strategy must be 'default'"),
        ({"logits_to_keep": torch.tensor([5, 22])}, "logits_to_keep must be a number of last tokens"),
    ],
)
def test_calls_that_do_not_fit_are_refused_in_one_line(model, given, said):
    given = {"input_ids": IDS, "pixel_values": PIXELS, **given}
    with reduced(model, "prumerge"), Watching(model.model.language_model) as seen:
        for call in (model, model.generate):
            with pytest.raises(InvalidValue, match=said) as caught:
                call(**given)
            assert "\n" not in str(caught.value)
    assert seen.calls == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"inputs": IDS}, "inputs and input_ids are both given"),
        ({"prefill_chunk_size": 4}, "prefill_chunk_size is not possible with reduced tokens"),
        ({"prompt_lookup_num_tokens": 2}, "prompt_lookup_num_tokens is not possible with reduced tokens"),
        ({"assistant_model": object()}, "assistant_model is not possible with reduced tokens"),
        ({"assistant_early_exit": 1}, "assistant_early_exit is not possible with reduced tokens"),
        ({"max_length": 23}, "max_length is 23, and input_ids alone are 23 tokens long"),
    ],
)
def test_what_generate_cannot_do_here_is_refused(model, given, said):
    with reduced(model, "prumerge"), pytest.raises(InvalidValue, match=said):
        model.generate(input_ids=IDS, pixel_values=PIXELS, **given)


def test_half_a_conversation_is_refused(model):
    with reduced(model, "prumerge"):
        cache = model.generate(IDS, pixel_values=PIXELS, max_new_tokens=2, return_dict_in_generate=True).past_key_values
        with pytest.raises(InvalidValue, match="fewer tokens: give pixel_values too"):
            model.generate(IDS, past_key_values=cache)
        mask = torch.ones(1, 60)
        with pytest.raises(InvalidValue, match="input_ids are the whole conversation"):
            model.generate(IDS, pixel_values=PIXELS, past_key_values=cache, attention_mask=mask)
