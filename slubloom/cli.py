"""The command line: finds the command, and turns what happens into an exit status.

0 clean, 1 violation, 2 unusable input or usage, 3 our own failure, 130 interrupted.  Commands are imported when they
are used, so ``slubloom --help`` is quick.  A reader that goes away early (``| head``) ends the program quietly
with 0: it has what it wanted.  An exception with an ``exit_status`` is a message for a person, without traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from . import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNUSABLE, INTERNAL, INTERRUPTED = 2, 3, 130

COMMANDS = {
    "run": "Boot a topology file, run it, report.",
    "explore": "Search schedules for a violation.",
    "compare": "One scenario under several kernels, in one table.",
    "replay": "The same run again, from a token or a trace.",
    "trace": "Look into recorded traces: cat, stats, check.",
    "topology": "Topology files: check, import, schema.",
    "gallery": "The scenarios that come with slubloom: list, show.",
    "conform": "Recordings of real kernels against the emulated one.",
}


@contextmanager
def _quiet_without_reader() -> Iterator[None]:
    """End with 0 when nobody reads standard output any more.  Left alone, click would end with 1: a violation."""
    try:
        yield
    except BrokenPipeError:
        # Python would complain again when it closes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise click.exceptions.Exit(0) from None


class _Commands(click.Group):
    """Imports a command's module when the command is used."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _quiet_without_reader():  # --help writes here
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _quiet_without_reader():
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f".commands.{cmd_name}", __package__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="slubloom")
def slubloom() -> None:
    """Run the concurrent part of the Linux memory manager, and find the interleaving that breaks it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    try:
        status: Any = slubloom.main(arguments, prog_name="slubloom", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return UNUSABLE
    except click.ClickException as error:
        error.show()
        return UNUSABLE
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except BaseExceptionGroup as group:  # from a trio nursery
        return _interrupted() if group.subgroup(KeyboardInterrupt) else _failed(group)
    except Exception as error:  # the last resort
        return _failed(error)
    return status if isinstance(status, int) else 0


def _interrupted() -> int:
    print("slubloom: interrupted", file=sys.stderr)
    return INTERRUPTED


def _failed(error: BaseException) -> int:
    status = getattr(error, "exit_status", None)
    if isinstance(status, int):
        print(f"slubloom: {error}", file=sys.stderr)
        return status
    print("slubloom: internal error, please report it with what follows", file=sys.stderr)
    traceback.print_exception(error)
    return INTERNAL
