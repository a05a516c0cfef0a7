# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m client`, or llm-ensemble-client once installed.

A command is a module with a docstring, add_arguments(parser) and run(arguments), which returns an exit code.
Where the server is and how long to wait are its own options (options.add_server has the usual ones).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence

from client.errors import ClientError, InvalidRequest, Overloaded, Unreachable

COMMANDS = {
    "generate": "client.generate_command",
    "chat": "client.chat_command",
    "status": "client.status_command",
    "bench": "client.bench",
}
USAGE, REFUSED, OVERLOAD, FAULT, UNREACHABLE = 2, 3, 4, 5, 6
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
  LLM_ENSEMBLE_URL  what --url is without it (default: http://localhost:8000)
  NO_COLOR          anything in it: no colours; there are none in a pipe either
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    asked = parser().parse_args(arguments)
    try:
        code: int = asked.run(asked)
        sys.stdout.flush()
        return code
    except ClientError as error:
        sys.stderr.write(f"{asked.command}: {error}\n")
        return exit_code(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (
        BrokenPipeError
    ):  # `... | head`: who reads has enough, and Python must not fail flushing at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    """Every command that is there, with what they share."""
    made = argparse.ArgumentParser(
        prog="llm-ensemble-client",
        description="Ask an llm-ensemble server: text in, text out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module_name in COMMANDS.items():
        if importlib.util.find_spec(module_name) is None:
            continue
        module = importlib.import_module(module_name)
        one_line, _, rest = (module.__doc__ or "").partition("\n")
        one = commands.add_parser(
            name,
            help=one_line.rstrip("."),
            description=f"{one_line}\n{rest}".strip(),
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(one)
        one.set_defaults(run=module.run)
    return made


def exit_code(error: ClientError) -> int:
    """The exit code of an error; EPILOG explains them."""
    if isinstance(error, InvalidRequest):
        return USAGE if error.field == "url" else REFUSED
    if isinstance(error, Overloaded):
        return OVERLOAD
    return UNREACHABLE if isinstance(error, Unreachable) else FAULT


if __name__ == "__main__":
    sys.exit(main())
