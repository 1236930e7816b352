"""Real models with random weights, and their phases as steps to time.

The architecture is Hugging Face's own, built from the preset's configuration on the device itself; nothing is
downloaded. Weights are one block of normal numbers laid end to end: as random to the arithmetic as fresh ones, and
made at the speed of memory.
"""

from __future__ import annotations

from typing import Any

from perfkit.errors import InvalidSpec, InvalidValue
from perfkit.measuring.backend import Backend, Step, dtype_of
from perfkit.measuring.cases import PhaseCase
from perfkit.models import COUNTED_CLASSES, config_of
from perfkit.models.spec import ModelSpec

ATTENTION_KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
WITH_IMAGES = ("llava",)
WITHOUT_IMAGES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
MEASURED_FAMILIES = (*WITH_IMAGES, *WITHOUT_IMAGES)
BLOCK = 2**22  # weights that are drawn; the rest repeats them
DEVIATION = 0.02  # Hugging Face's own initializer_range
# torch's initialisers by the names under which they reach the tensors; filling 7 billion weights by them takes minutes.
INITIALISERS = frozenset(("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_"))


def check_family(spec: ModelSpec) -> None:
    """Refuse a model whose phases are not known here.

    Raises:
        InvalidValue: an encoder, or a vision-language model of another architecture than LLaVA-1.5's.
    """
    if spec.family not in MEASURED_FAMILIES:
        allowed = ", ".join(COUNTED_CLASSES[family] for family in MEASURED_FAMILIES)
        raise InvalidValue(f"{spec.name} is a {COUNTED_CLASSES[spec.family]}; measured are {allowed}")
    if spec.family in WITH_IMAGES and not isinstance(config_of(spec.name).get("vision_feature_layer", -2), int):
        raise InvalidValue(f"{spec.name} takes features of several layers; measured are models that take one")


class Network:
    """A model on a device, in one precision.

    Raises:
        InvalidSpec: Hugging Face builds another number of parameters than is counted.
    """

    def __init__(self, spec: ModelSpec, backend: Backend, precision: str) -> None:
        import torch

        self.spec = spec
        self._torch = torch
        self._backend = backend
        self._dtype = dtype_of(precision)
        self.module = _build(spec, backend.device, self._dtype)
        counted, built = spec.parameters, sum(p.numel() for p in self.module.parameters())
        if built != counted:
            raise InvalidSpec(f"{spec.name}: Hugging Face builds {built:,} parameters, perfkit counts {counted:,}")

    def step(self, case: PhaseCase) -> Step:
        """One call of a phase, its inputs made beforehand.

        Attention is set for the whole model, so steps of different attention must not be mixed.
        """
        if case.attention is not None:
            self.module.set_attn_implementation(case.attention)
        if case.phase == "decode":
            return self._decode(case)
        return Step({"vision": self._vision, "projector": self._projector, "prefill": self._prefill}[case.phase](case))

    def _random(self, *shape: int) -> Any:
        return self._torch.randn(shape, device=self._backend.device, dtype=self._dtype)

    def _ids(self, batch: int, tokens: int) -> Any:
        # Any word will do: embedding rows cost the same.
        return self._torch.ones((batch, tokens), device=self._backend.device, dtype=self._torch.long)

    def _vision(self, case: PhaseCase) -> Any:
        """Pixels (batch, channels, side, side) -> features of one layer, (batch, patches, width)."""
        vision, tower = self.spec.vision, self.module.model.vision_tower
        if vision is None:
            raise InvalidValue(f"{self.spec.name} has no vision tower")
        pixels = self._random(case.batch, vision.channels, vision.image_size, vision.image_size)
        layer, skipped = self.module.config.vision_feature_layer, vision.positions - vision.kept_positions
        return lambda: tower(pixels, output_hidden_states=True).hidden_states[layer][:, skipped:]

    def _projector(self, case: PhaseCase) -> Any:
        """Features (batch, visual tokens, vision width) -> (batch, visual tokens, hidden)."""
        projector = self.module.model.multi_modal_projector
        features = self._random(
            case.batch, case.visual_tokens, self.spec.projector.inputs if self.spec.projector else 0
        )
        return lambda: projector(features)

    def _prefill(self, case: PhaseCase) -> Any:
        """Words looked up, projected features put in their place, all layers, the last token's logits; a new cache."""
        ids = self._ids(case.batch, case.visual_tokens + case.text_tokens)
        embed, module = self.module.get_input_embeddings(), self.module
        if case.visual_tokens == 0:
            return lambda: module(input_ids=ids, use_cache=True, logits_to_keep=1)
        features = self._random(case.batch, case.visual_tokens, self._hidden)

        def prefill() -> object:
            embeddings = embed(ids)
            embeddings[:, : case.visual_tokens] = features
            return module(inputs_embeds=embeddings, use_cache=True, logits_to_keep=1)

        return prefill

    def _decode(self, case: PhaseCase) -> Step:
        """One token against a cache of the prompt, which is put back to the prompt before each call."""
        return self._decode_by_graph(case) if case.runtime == "graph" else self._decode_eagerly(case)

    def _decode_eagerly(self, case: PhaseCase) -> Step:
        """Hugging Face's growing cache, which each step concatenates anew."""
        from transformers import DynamicCache

        cache = self._filled(DynamicCache(), case)
        prompt = [(layer.keys, layer.values) for layer in cache.layers]

        def put_back() -> None:
            # The very tensors: a crop would leave views, and views are slower to concatenate.
            for layer, (keys, values) in zip(cache.layers, prompt, strict=True):
                layer.keys, layer.values = keys, values

        return Step(self._one_token(case, cache, mask=None), put_back)

    def _decode_by_graph(self, case: PhaseCase) -> Step:
        """A static cache of just the length needed, its lengths on the device, where the graph advances them."""
        from transformers import StaticCache

        tokens = case.visual_tokens + case.text_tokens
        config, device = self.module.config.get_text_config(), self._backend.device
        cache = self._filled(StaticCache(config=config, max_cache_len=tokens + 1), case)
        lengths = self._torch.full((self._layers,), tokens, device=device)
        for layer, length in zip(cache.layers, lengths, strict=True):
            layer.cumulative_length = length  # one tensor for all, so that putting back is one operation
        # Ready-made: making one copies from the host, which a capture forbids. All of the cache is seen.
        mask = self._torch.zeros((case.batch, 1, 1, tokens + 1), device=device, dtype=self._dtype)

        def put_back() -> None:
            lengths.fill_(tokens)
            for layer in cache.layers:
                if hasattr(layer, "cumulative_length_int"):  # a sliding window counts on the host too
                    layer.cumulative_length_int = tokens

        return self._backend.capture(Step(self._one_token(case, cache, mask), put_back))

    def _one_token(self, case: PhaseCase, cache: Any, mask: Any) -> Any:
        ids, module = self._ids(case.batch, 1), self.module

        def decode() -> object:
            said = module(input_ids=ids, past_key_values=cache, attention_mask=mask, use_cache=True, logits_to_keep=1)
            return said.logits

        return decode

    def _filled(self, cache: Any, case: PhaseCase) -> Any:
        tokens = case.visual_tokens + case.text_tokens
        for layer in range(self._layers):
            cache.update(self._cached(case.batch, tokens), self._cached(case.batch, tokens), layer)
        return cache

    def _cached(self, batch: int, tokens: int) -> Any:
        """Keys, or values, of one layer: (batch, key heads, tokens, head width)."""
        attention = self._text.stack.attention
        return self._random(batch, attention.kv_heads, tokens, attention.head_dim)

    @property
    def _text(self) -> Any:
        return self.spec.text

    @property
    def _layers(self) -> int:
        return int(self._text.stack.layers)

    @property
    def _hidden(self) -> int:
        return int(self._text.stack.hidden)


def _build(spec: ModelSpec, device: Any, dtype: Any) -> Any:
    import transformers

    values = own_code_only(config_of(spec.name))
    config = transformers.CONFIG_MAPPING[values["model_type"]].from_dict(values)
    return random_module(getattr(transformers, COUNTED_CLASSES[spec.family]), config, device, dtype)


def own_code_only(values: Any) -> Any:
    """A configuration without the attention that it asks for, which may name code for Hugging Face to fetch and run.

    >>> own_code_only({"vision_config": {"_attn_implementation": "someone/kernel", "hidden_size": 64}})
    {'vision_config': {'hidden_size': 64}}
    """
    if not isinstance(values, dict):
        return values
    return {key: own_code_only(value) for key, value in values.items() if key not in ATTENTION_KEYS}


def random_module(kind: Any, config: Any, device: Any, dtype: Any) -> Any:
    """Model of a class of Hugging Face's with random weights, the same ones at every call."""
    module = unfilled_module(kind, config, device, dtype)
    _fill(module)
    return module


def unfilled_module(kind: Any, config: Any, device: Any, dtype: Any) -> Any:
    """Model of a class of Hugging Face's whose weights are whatever lay in memory, for the caller to write."""
    import torch

    with torch.device(device), _unfilled():
        return kind._from_config(config, dtype=dtype).eval()


def _unfilled() -> Any:
    """Context in which new weights stay as memory was, for `_fill` to write them; buffers are made as always."""
    from torch.overrides import TorchFunctionMode

    class Unfilled(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if getattr(function, "__name__", "") in INITIALISERS:
                return args[0] if args else kwargs["tensor"]
            return function(*args, **kwargs)

    return Unfilled()


def _fill(module: Any) -> None:
    import torch

    block: Any = None
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() == 1 and name.endswith("weight"):  # scales of norms; small ones would hide positions
                parameter.fill_(1)
                continue
            if block is None:
                generator = torch.Generator(parameter.device).manual_seed(0)
                block = torch.empty(BLOCK, device=parameter.device).normal_(0, DEVIATION, generator=generator)
                block = block.to(parameter.dtype)
            flat = parameter.data.view(-1)
            whole = flat.numel() // BLOCK * BLOCK
            if whole:
                flat[:whole].view(-1, BLOCK).copy_(block)
            flat[whole:].copy_(block[: flat.numel() - whole])
