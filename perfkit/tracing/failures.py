"""What a user's code said when it failed, in one line, and what helps."""

from __future__ import annotations

LONGEST = 300  # characters of a message that are repeated

# Words of torch's messages, and what to do about them.
_HINTS = (
    (
        ("item()", "meta tensor", "data-dependent", "nonzero", "_local_scalar_dense"),
        "meta tensors have no values: count the parts that need none (a vision-language model's tower, its language "
        "model through inputs_embeds; experts with set_experts_implementation('batched_mm'))",
    ),
    (
        ("same device", "is on cpu", "device meta, cpu", "device cpu"),
        "make every tensor within the factory, or of another's device",
    ),
    (
        ("same dtype", "scalar type", "expected tensor for argument #1 'indices'"),
        "say the dtype, as --input 1x16:int64",
    ),
    (("required positional argument", "unexpected keyword argument"), "name an input as --input NAME=SHAPE:DTYPE"),
)


def what_it_said(error: BaseException) -> str:
    """Type and first line of an exception.

    >>> what_it_said(ValueError("no such size\\n  in line 3"))
    'ValueError: no such size'
    """
    lines = [line.strip() for line in _words(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


def advice(error: BaseException) -> str:
    """What helps against an exception, after a semicolon, or nothing."""
    text = _words(error).lower()
    return next((f"; {hint}" for words, hint in _HINTS if any(word in text for word in words)), "")


def of_devices(error: BaseException) -> bool:
    """Whether tensors of two devices met."""
    return "device" in _words(error).lower()


def _words(error: BaseException) -> str:
    """Its message; nothing where making it fails too."""
    try:
        return str(error)
    except Exception:
        return ""
