# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m llm_ensemble_client`, or llm-ensemble-client once installed.

A command is a module with a docstring, which is its help, add_arguments(parser) and run(arguments), which
returns an exit code.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence

from llm_ensemble_client.cli import chat, completion, generate, models, status
from llm_ensemble_client.cli.options import describe_error
from llm_ensemble_client.errors import ClientError, InvalidRequest, Overloaded, Unreachable, UsageError

COMMANDS = {
    "generate": generate,
    "chat": chat,
    "status": status,
    "models": models,
    "completion": completion,
}
USAGE, REFUSED, OVERLOADED, SERVER_ERROR, UNREACHABLE = 2, 3, 4, 5, 6
INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended
EPILOG = """\
exit codes:
  0  done
  2  the command line is wrong
  3  the server refused the request: something in it is wrong
  4  the server is overloaded, and was after every retry
  5  the server failed, or is no llm-ensemble server
  6  no server was reached, its connection broke, or it took longer than --timeout

environment:
  LLM_ENSEMBLE_URL  default of --url (if unset: http://localhost:8000)
  NO_COLOR          if not empty, write no colours; a pipe never gets colours
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Without a command, print the help."""
    parser = build_parser()
    asked = parser.parse_args(arguments)
    if asked.command is None:
        parser.print_help()
        return 0
    try:
        code: int = asked.run(asked)
        sys.stdout.flush()
        return code
    except ClientError as error:
        sys.stderr.write(f"{asked.command}: {describe_error(error, getattr(asked, 'url', ''))}\n")
        return exit_code(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # As in `... | head`: the reader has closed the pipe. Python must not fail when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="llm-ensemble-client",
        description="Ask an llm-ensemble server: text in, text out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --max would mean another option once a second one begins so
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, module in COMMANDS.items():
        one_line, _, rest = (module.__doc__ or "").partition("\n")
        one = commands.add_parser(
            name,
            help=one_line.rstrip("."),
            description=f"{one_line}\n{rest}".strip(),
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(one)
        one.set_defaults(run=module.run, build_parser=build_parser)
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("llm-ensemble")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "(not installed)"


def exit_code(error: ClientError) -> int:
    """Return the exit code of an error; EPILOG explains them."""
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, InvalidRequest):
        return USAGE if error.field == "url" else REFUSED
    if isinstance(error, Overloaded):
        return OVERLOADED
    return UNREACHABLE if isinstance(error, Unreachable) else SERVER_ERROR


if __name__ == "__main__":
    sys.exit(main())
