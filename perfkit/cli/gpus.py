"""`perfkit gpus`."""

from __future__ import annotations

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell
from perfkit.errors import InvalidValue
from perfkit.hardware import choose_device, device_ids, load_device


@click.command("gpus")
@click.argument("name", required=False)
@click.option("--detect", is_flag=True, help="Show this machine's own GPUs, read through NVML.")
@options.output
def command(name: str | None, detect: bool, form: str, output: str | None) -> None:
    """List the devices, or show one with every figure and its source.

    \b
    Examples:
      perfkit gpus
      perfkit gpus v100
      perfkit gpus --detect
    """
    if detect and name:
        raise InvalidValue("--detect takes no name: it shows the GPUs of this machine")
    if detect:
        from perfkit.measuring.nvml import detect_gpus

        emit(detect_gpus(), form, output)
    elif name:
        choice = choose_device(name)
        emit(choice.device, form, output)
        if choice.siblings:
            tell("note", [f"{choice.name} means {choice.device.id}; its siblings: {', '.join(choice.siblings)}"])
    else:
        emit([load_device(device_id) for device_id in device_ids()], form, output)
