"""From ``sys.argv`` to a command, and from what it raises to an exit code.

The first word is handled here, without typer: ``tiffin --help`` needs none of it, and typer lists commands
only after importing them all.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

import tiffin
from tiffin.cli import output, table, targets
from tiffin.errors import PortInUse, ProcessError, TiffinError

OK, FAILED, USAGE, COULD_NOT_START, INTERRUPTED = 0, 1, 2, 3, 130


class CouldNotStart(Exception):
    """Raised from a TiffinError by a command that starts things: exit code 3, so that supervisors stop trying."""


def run(arguments: Sequence[str]) -> int:
    """Run a command line (without the program's name); the exit code. Prints errors, raises nothing."""
    try:
        return _dispatch(list(arguments))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else (OK if end.code is None else FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except CouldNotStart as error:
        output.report(error.__cause__ or error)
        return COULD_NOT_START
    except TiffinError as error:
        output.report(error)
        return COULD_NOT_START if isinstance(error, PortInUse | ProcessError) else FAILED
    except BrokenPipeError:
        # The reader of stdout has gone (`| head`); keep Python from complaining at its own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        output.report(error)
        return FAILED


def kubectl() -> NoReturn:
    """The entry point of ``kubectl-tiffin``, which kubectl finds as its plugin: commands are about a cluster."""
    os.environ.setdefault(targets.VARIABLE, targets.KUBERNETES)
    sys.exit(run(sys.argv[1:]))


def main() -> NoReturn:
    """The entry point of ``tiffin`` and ``python -m tiffin``."""
    sys.exit(run(sys.argv[1:]))


def _dispatch(arguments: list[str]) -> int:
    while arguments and arguments[0].startswith("-"):
        option = arguments.pop(0)
        if option == "--debug":
            os.environ["TIFFIN_DEBUG"] = "1"
        elif option in ("-h", "--help"):
            print(_help())
            return OK
        elif option == "--version":
            print(f"tiffin {tiffin.__version__}")
            return OK
        else:
            return _misused(f"there is no option {option}", "`tiffin --help` lists what there is")
    if not arguments:
        output.say(_help())
        return USAGE
    name, *rest = arguments
    entry = next((entry for entry in table.COMMANDS if entry.name == name), None)
    if entry is None:
        close = difflib.get_close_matches(name, [entry.name for entry in table.COMMANDS], n=1)
        return _misused(
            f"there is no command {name!r}",
            f"did you mean `tiffin {close[0]}`?" if close else "`tiffin --help` lists the commands",
        )
    target, rest = targets.taken(name, rest)
    targets.choose(target)
    return _call(entry, rest)


def _call(entry: table.Entry, arguments: list[str]) -> int:
    import typer

    module, _, name = entry.home.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command(entry.name)(function)
    try:
        code = app(arguments, prog_name=f"tiffin {entry.name}", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except Exception as error:
        # Older releases of typer raise click's UsageError, newer ones that of a copy they carry.
        if not hasattr(error, "format_message"):
            raise
        message = str(error.format_message()).rstrip(".")
        return _misused(message[:1].lower() + message[1:], f"`tiffin {entry.name} --help` shows how it is used")
    return code if isinstance(code, int) else OK


def _misused(message: str, hint: str) -> int:
    output.say(f"error: {message}\n\nhint: {hint}")
    return USAGE


def _help() -> str:
    width = max(len(entry.name) for entry in table.COMMANDS)
    groups = dict.fromkeys(entry.group for entry in table.COMMANDS)
    commands = "\n\n".join(
        "\n".join(
            [f"{group}:"]
            + [f"  {entry.name:<{width}}  {entry.help}" for entry in table.COMMANDS if entry.group == group]
        )
        for group in groups
    )
    return f"""\
Usage: tiffin [--debug] COMMAND ...

Serve machine-learning models; KServe, Seldon and BentoML files are read unchanged.

{commands}

Options:
  --version   Show the version.
  --debug     Show a traceback with every error (also: TIFFIN_DEBUG=1).
  -h, --help  Show this.

`tiffin COMMAND --help` tells more about one."""
