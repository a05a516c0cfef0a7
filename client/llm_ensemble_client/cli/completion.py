# SPDX-License-Identifier: Apache-2.0
"""A shell script that completes commands and options.

eval "$(llm-ensemble-client completion bash)"     in ~/.bashrc; zsh: likewise in ~/.zshrc, after compinit
llm-ensemble-client completion fish | source      in ~/.config/fish/config.fish
"""

from __future__ import annotations

import argparse

from llm_ensemble_client.cli.terminal import write
from llm_ensemble_client.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish", "tcsh"))


def run(arguments: argparse.Namespace) -> int:
    """Write the script and return the exit code."""
    try:
        import shtab
    except ImportError as error:
        raise UsageError("needs shtab: pip install 'llm-ensemble[client]', or pip install shtab") from error
    write(shtab.complete(arguments.build_parser(), arguments.shell) + "\n")
    return 0
