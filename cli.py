"""Launcher for a checkout: `python cli.py ...` is `perfkit ...` without installation."""

from perfkit.cli import main

if __name__ == "__main__":
    main(prog_name="python cli.py")
