"""The command line: its subcommands, and how every error ends."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence

import typer
from typer.exceptions import Exit, TyperException

from kvbench.cli import caches, compare, doctor, fit, listing, page, publish, records, run, show
from kvbench.cli.errors import Refusal

app = typer.Typer(
    name="kvbench",
    help="What a KV-cache optimisation of a language model costs and gains.",
    add_completion=False,
    rich_markup_mode=None,
    suggest_commands=False,
    pretty_exceptions_enable=False,
)
COMMANDS: dict[str, Callable[..., int]] = {
    "run": run.run,
    "show": show.show,
    "compare": compare.compare,
    "page": page.page,
    "list": listing.list_,
    "fit": fit.fit,
    "new-cache": caches.new_cache,
    "doctor": doctor.doctor,
    "check": records.check,
    "merge": records.merge,
    "publish": publish.publish,
    "ncu": records.ncu,
}
OWN_PARSER = {"allow_extra_args": True, "ignore_unknown_options": True}
for name, function in COMMANDS.items():
    own = name == "ncu"  # it reads its arguments itself
    settings = OWN_PARSER if own else None
    app.command(name, context_settings=settings, add_help_option=not own)(function)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, 1 where what was asked for failed, 2 for what cannot be done."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    rest: list[str] = []
    if not words:
        words = ["--help"]
    if "--" in words and words[:1] != ["ncu"]:
        at = words.index("--")
        words, rest = words[:at], words[at + 1 :]
    try:
        found = app(words, prog_name="kvbench", standalone_mode=False, obj=rest)
        return found if isinstance(found, int) else 0
    except Exit as end:
        return end.exit_code
    except TyperException as error:
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        return _say(_with_candidates(message, words), 2)
    except Refusal as error:
        return _say(str(error), error.status)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError) as error:  # a file that cannot be read, or is another than it says
        return _say(f"{type(error).__name__}: {error}", 1)


def _say(message: str, status: int) -> int:
    print(f"kvbench: {' '.join(message.split())}", file=sys.stderr)
    return status


def _with_candidates(message: str, words: Sequence[str]) -> str:
    """A message of the parser's, and for a command that there is not, those that come near."""
    if not message.startswith("No such command"):
        asked = f"kvbench {words[0]} --help" if words[:1] and words[0] in COMMANDS else "kvbench"
        return f"{message} (see: {asked})" if asked != "kvbench" else message
    wrong = next((word for word in words if not word.startswith("-")), "")
    near = difflib.get_close_matches(wrong, COMMANDS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"unknown command {wrong!r}: {hint}known: {', '.join(COMMANDS)}"
