"""Commands run as from a shell, in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from perfkit.cli import main


def run(*arguments: object) -> Result:
    """What a command line, `perfkit` left out, comes to."""
    return CliRunner().invoke(main, [*map(str, arguments)])


def error_line(*arguments: object) -> str:
    """The one line of a command that must fail with exit code 1 and print nothing else."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    return line.removeprefix("Error: ")
