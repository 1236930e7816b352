"""Read a Hugging Face `config.json`: checked values, Hugging Face's class defaults, and which ones were used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.documents import read_json, shown
from perfkit.errors import InvalidSpec

MAXIMUM_SIZE = 10**9


class Config:
    """A mapping of a config.json that remembers which keys were absent and took a class default.

    `defaults` collects them, those of nested sections too, as "section.key=value".
    """

    def __init__(
        self, values: Mapping[str, Any], where: str, *, section: str = "", defaults: list[str] | None = None
    ) -> None:
        self.values = values
        self.where = where
        self.prefix = f"{section}." if section else ""
        self.defaults: list[str] = [] if defaults is None else defaults

    def size(self, key: str, default: int) -> int:
        """A dimension (hidden width, layers, heads ...); absent at the top level is an error.

        Raises:
            InvalidSpec: absent from a top-level model, or not a whole number from 1 to 10^9.
        """
        if self.values.get(key) is None and not self.prefix:
            raise InvalidSpec(f"{self.where}: {key} is missing, and a model cannot be counted without it")
        return self.count(key, default)

    def count(self, key: str, default: int, minimum: int = 1) -> int:
        """A whole number with a class default."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= MAXIMUM_SIZE:
            raise InvalidSpec(
                f"{self.where}: {key} must be a whole number from {minimum} to {MAXIMUM_SIZE}, not {shown(value)}"
            )
        return value

    def optional_count(self, key: str) -> int | None:
        """A whole number, or None where the key is absent or null."""
        return None if self.values.get(key) is None else self.count(key, 0)

    def nullable_count(self, key: str, default: int) -> int | None:
        """A whole number with a class default where absent; None where the file says null."""
        return self.count(key, default) if self.values.get(key, default) is not None else None

    def flag(self, key: str, default: bool) -> bool:
        """A boolean with a class default."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise InvalidSpec(f"{self.where}: {key} must be true or false, not {shown(value)}")
        return value

    def text(self, key: str, default: str) -> str:
        """A string with a class default."""
        value = self._value(key, default)
        if not isinstance(value, str):
            raise InvalidSpec(f"{self.where}: {key} must be a string, not {shown(value)}")
        return value

    def raw(self, key: str, default: Any) -> Any:
        """A value of any form, checked by the caller."""
        return self._value(key, default)

    def section(self, key: str, model_type: str, fallback: Mapping[str, Any] | None = None) -> Config:
        """A nested configuration; absent sizes there take class defaults.

        `model_type` and, where the whole section is absent, `fallback` are what Hugging Face assumes.
        """
        value = self.values.get(key)
        if value is None:
            self.defaults.append(f"{self.prefix}{key}")
            value = fallback or {}
        if not isinstance(value, Mapping):
            raise InvalidSpec(f"{self.where}: {key} must be a mapping, not {shown(value)}")
        if value and "model_type" not in value:
            self.defaults.append(f"{self.prefix}{key}.model_type={model_type}")
        return Config(
            {"model_type": model_type, **value},
            f"{self.where}: {key}",
            section=self.prefix + key,
            defaults=self.defaults,
        )

    def _value(self, key: str, default: Any) -> Any:
        # Hugging Face writes null for "use the default"; where null has a meaning of its own, nullable_count is read.
        value = self.values.get(key)
        if value is None:
            self.defaults.append(f"{self.prefix}{key}={default if isinstance(default, str) else shown(default)}")
            return default
        return value


def read_config(path: Path) -> Config:
    """The config.json at `path`.

    Raises:
        InvalidSpec: no JSON object in a file of at most 16 MiB, or one without model_type.
    """
    values = read_json(path)
    if not isinstance(values.get("model_type"), str):
        raise InvalidSpec(f"{path}: model_type is missing, so the model's class is not known")
    return Config(values, str(path))
