"""What can go wrong, as a tree; the command line turns each into one line and exit code 1.

```
PerfkitError
├── InvalidValue        a count, precision or option that cannot be (names what is allowed)
├── UnknownName         no such device, model, format ... (names the nearest)
├── InvalidSpec         a device YAML or a config.json that does not say what it must
├── UnsupportedPrecision  the card has no engine for it
└── MachineError        this machine lacks what the command needs (driver, library, writable path)
```
"""

from __future__ import annotations

from collections.abc import Iterable


class PerfkitError(Exception):
    """Base of every error that a user can cause or mend; its text is the whole message."""


class InvalidValue(PerfkitError, ValueError):
    """A value outside what is allowed."""


class InvalidSpec(PerfkitError, ValueError):
    """A device YAML or model config that cannot be read as one."""


class UnsupportedPrecision(PerfkitError, ValueError):
    """The device has no engine for products in this precision."""


class MachineError(PerfkitError, RuntimeError):
    """The machine lacks something: a driver, a library, a writable path."""


class UnknownName(PerfkitError, LookupError):
    """A name that is not in a list; the message offers the nearest ones, and all of a short list.

    >>> print(UnknownName("--attention", "flash", ["fused", "eager"]))
    unknown --attention 'flash'; allowed: eager, fused
    >>> print(UnknownName("GPU", "v10", [f"model-{i}" for i in range(20)] + ["v100", "a100"]))
    unknown GPU 'v10'; nearest: v100, a100
    """

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        parts = [f"unknown {what} {name!r}"]
        near = _nearest(name, names)
        parts += [f"nearest: {', '.join(near)}"] if near else []
        parts += [f"allowed: {', '.join(names)}"] if len(names) <= SHORT_LIST else []
        super().__init__("; ".join(parts) + hint)


SHORT_LIST = 16  # names that one line can still hold


def _nearest(name: str, known: list[str]) -> list[str]:
    from difflib import get_close_matches  # only on the way to an error

    near = get_close_matches(name.lower(), known, n=4, cutoff=0.5)
    return near + [k for k in known if name and name.lower() in k and k not in near][: 4 - len(near)]
