"""Tensors of a vision tower from a local folder of Hugging Face's, and nothing else of what the folder holds.

Files come from anywhere, so no pickle is ever run: safetensors hold numbers alone, and a .bin is read by torch's
restricted loader, which refuses whatever is not made of tensors.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from perfkit.documents import read_json, shown
from perfkit.errors import InvalidSpec

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("model.safetensors", "pytorch_model.bin")  # the first that is there, whole or as an index of shards
INDEX = ".index.json"
LANDMARK = "embeddings.class_embedding"  # every CLIP tower has one, and nothing else does
LONGEST_NAME = 100  # characters of a tensor's name that a message repeats
# Rows 0, 1, 2 ... that older versions of transformers saved, and newer ones make anew.
NOT_WEIGHTS = ("embeddings.position_ids",)

Shape = tuple[int, ...]


class Shard(Protocol):
    """One file of tensors."""

    def names(self) -> Iterable[str]:
        """Of all tensors in it."""

    def shape(self, name: str) -> Shape:
        """Of one of them."""

    def tensor(self, name: str) -> Tensor:
        """One of them."""


def read_tower_weights(folder: Path, wanted: Mapping[str, Shape]) -> dict[str, Tensor]:
    """Tensors of the tower in `folder` by the names that a `CLIPVisionModel` has for them, all of `wanted`.

    In a whole CLIP or LLaVA the tower's names have something in front, which is found by LANDMARK.

    Raises:
        InvalidSpec: no weights, no tower or several among them, tensors that are missing, too many, of another shape or
            no floating-point numbers, a file that is broken or outside the folder, or a pickle of more than tensors.
    """
    homes = _homes(folder)
    prefix = _prefix(homes, folder)
    towers = {name.removeprefix(prefix): name for name in homes if name.startswith(prefix)}
    _check_names(towers, wanted, folder)
    return dict(_tensors(homes, {name: towers[name] for name in wanted}, wanted))


def weight_bytes(folder: Path) -> int:
    """Size of all files of weights in `folder`.

    Raises:
        InvalidSpec: there are none.
    """
    return sum(path.stat().st_size for path in _files(folder))


def _files(folder: Path) -> list[Path]:
    found = _found(folder)
    if not found.name.endswith(INDEX):
        return [found]
    return list(dict.fromkeys(_shards(found).values()))


def _found(folder: Path) -> Path:
    """The file of weights, or the index of several."""
    names = [name + ending for name in FILES for ending in ("", INDEX)]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InvalidSpec(f"{folder}: holds no weights: none of {', '.join(names)}")


def _homes(folder: Path) -> dict[str, Path]:
    """In which file each tensor lies."""
    found = _found(folder)
    if found.name.endswith(INDEX):
        return _shards(found)
    return dict.fromkeys(_open(found).names(), found)


def _shards(index: Path) -> dict[str, Path]:
    """What an index says, its files checked: beside it, and of the kind that it is an index of."""
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise InvalidSpec(f"{index}: weight_map must say in which file each tensor lies")
    ending = ".bin" if ".bin" in index.name else ".safetensors"
    for file in listed.values():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(ending):
            raise InvalidSpec(f"{index}: weights lie beside it, in files *{ending}, not in {shown(file)}")
        if not (index.parent / file).is_file():
            raise InvalidSpec(f"{index}: {file} is not there")
    return {name: index.parent / file for name, file in listed.items()}


# --- names


def _prefix(names: Iterable[str], folder: Path) -> str:
    found = [name.removesuffix(LANDMARK) for name in names if name.endswith(LANDMARK)]
    if len(found) != 1:
        what = "no vision tower" if not found else f"{len(found)} vision towers"
        raise InvalidSpec(f"{folder}: its weights hold {what} of CLIP's kind (tensors *{LANDMARK})")
    return found[0]


def _check_names(found: Iterable[str], wanted: Iterable[str], folder: Path) -> None:
    missing = sorted(set(wanted) - set(found))
    surplus = sorted(set(found) - set(wanted) - set(NOT_WEIGHTS))
    if missing:
        raise InvalidSpec(f"{folder}: its vision tower lacks {_counted(missing)}")
    if surplus:
        raise InvalidSpec(f"{folder}: its vision tower has {_counted(surplus)}, which its config.json does not know")


def _counted(names: list[str]) -> str:
    several = len(names) > 1
    return f"{len(names)} tensor{'s' * several}, {'the first ' * several}{_quoted(names[0])}"


def _quoted(name: str) -> str:
    """A name out of a file, which may hold anything; its end says what it is."""
    return repr(name[-LONGEST_NAME:])


# --- tensors


def _tensors(
    homes: Mapping[str, Path], stored: Mapping[str, str], wanted: Mapping[str, Shape]
) -> Iterator[tuple[str, Tensor]]:
    """Each of `wanted` by its name in the tower, file by file; `stored`: the names that they have in the files."""
    for file in dict.fromkeys(homes[name] for name in stored.values()):
        shard = _open(file)
        held = set(shard.names())
        for name, there in stored.items():
            if homes[there] == file:
                yield name, _tensor(shard, held, there, wanted[name], file)


def _tensor(shard: Shard, held: set[str], name: str, wanted: Shape, file: Path) -> Tensor:
    if name not in held:
        raise InvalidSpec(f"{file}: {_quoted(name)} is not in it, though the index says so")
    if (shape := shard.shape(name)) != wanted:  # before it is read: it may be of any size
        raise InvalidSpec(f"{file}: {_quoted(name)} has shape {list(shape)}; its config.json asks for {list(wanted)}")
    tensor = shard.tensor(name)
    if (kind := _kind(tensor)) != "strided":
        raise InvalidSpec(f"{file}: {_quoted(name)} is {kind}, not numbers side by side")
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InvalidSpec(f"{file}: {_quoted(name)} is {kind}, no floating-point numbers")
    return tensor


def _kind(tensor: Tensor) -> str:
    """How its numbers lie in memory: strided where they all do, sparse_coo, meta ..."""
    return "meta" if tensor.is_meta else str(tensor.layout).removeprefix("torch.")


def _open(path: Path) -> Shard:
    try:
        return _Safetensors(path) if path.suffix == ".safetensors" else _Pickled(path)
    except InvalidSpec:
        raise
    except Exception as error:  # readers of broken files raise whatever they meet
        told = str(error).partition("\n")[0] or type(error).__name__
        raise InvalidSpec(f"{path}: cannot be read as weights: {told}") from None


class _Safetensors:
    """Numbers behind a JSON header, read one by one."""

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        self._file: Any = safe_open(path, framework="pt")

    def names(self) -> Iterable[str]:
        return tuple(self._file.keys())

    def shape(self, name: str) -> Shape:
        return tuple(self._file.get_slice(name).get_shape())

    def tensor(self, name: str) -> Tensor:
        found: Tensor = self._file.get_tensor(name)
        return found


class _Pickled:
    """A pickle of tensors, read by torch's restricted loader, from the disk as far as its form allows."""

    def __init__(self, path: Path) -> None:
        import pickle

        import torch

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of other pickle protocols, say, which are read all the same
                found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except pickle.UnpicklingError:
            raise InvalidSpec(
                f"{path}: a pickle that holds more than tensors, or is broken; it is not run: "
                "take the folder's model.safetensors"
            ) from None
        if not isinstance(found, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
            raise InvalidSpec(f"{path}: holds no tensors by name")
        self._tensors: dict[str, Tensor] = found

    def names(self) -> Iterable[str]:
        return self._tensors

    def shape(self, name: str) -> Shape:
        return tuple(self._tensors[name].shape)

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name]
