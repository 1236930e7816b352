"""`perfkit kernels`."""

from __future__ import annotations

import click

from perfkit.cli import options
from perfkit.cli.emit import emit, tell


@click.command("kernels")
@click.argument("file", metavar="FILE.csv")
@click.option("--gpu", required=True, metavar="NAME", help="Device id, alias, or path to a YAML.")
@click.option("--calibration", metavar="FILE", help="Of expected times, instead of the device's own.")
@options.output_as("csv")
def command(file: str, gpu: str, calibration: str | None, form: str, output: str | None) -> None:
    """Predicted times of the kernels in a table, and errors where they were measured.

    FILE.csv (or .csv.gz) has a row a kernel: op, precision, and the sizes that the op has: m, n, k of a gemm; these and
    batch of a bmm; batch, kv_tokens, heads, kv_heads, head_dim of attention_prefill, attention_decode and
    attention_encoder; m, n of what goes row by row (rmsnorm, add, silu_mul ...). With measured_s, seconds, table and
    json show how far predictions are off; csv has all columns of the file and the predicted times behind. The file of
    the examples is in a checkout of perfkit.

    \b
    Examples:
      perfkit kernels docs/examples/kernels.csv --gpu a100
      perfkit kernels docs/examples/kernels.csv --gpu v100 --format table
    """
    from perfkit.validation.kernel_tables import predict_kernels

    predictions = predict_kernels(file, gpu, calibration)
    emit(predictions, form, output)
    if predictions.choice.siblings:
        choice = predictions.choice
        tell("note", [f"{choice.name} means {choice.device.id}; its siblings: {', '.join(choice.siblings)}"])
    tell("warning", predictions.warnings)
