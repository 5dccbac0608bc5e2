"""How help is written: verbs in panels by what they are for, whole sentences, examples that can be copied.

typer's own panels are drawn with rich, which takes longer to import than the rest of the command line and shortens
descriptions at 80 columns.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

#: What verbs are for, in the order in which `repro --help` shows it.
LOOK, MEASURE, COMPARE, WEIGHTS, DATA, SHARE = PANELS = (
    "Look at the paper", "Measure", "Compare with the paper and with each other", "Weights", "Data", "Share",
)  # fmt: skip

#: What options of a verb that measures are for, in the order of its help: below "Options", which most verbs share.
ASKED, TRAINING, MACHINE, SEEN = OPTION_PANELS = (
    "What is measured",
    "How it is trained",
    "Where and how it is computed",
    "What is seen of it",
)

#: Of every command: help by -h as well, in lines of at most 120 characters on a wide terminal.
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


class Verb(TyperCommand):
    """A verb whose help has each example on one line, however narrow the terminal is, and many options in panels."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **{**settings, "help": _keep_examples(settings.get("help") or "")})

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for the arguments, one for the options without a panel, and one for each panel."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", "Options", *OPTION_PANELS)}
        for parameter in self.get_params(ctx):
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            if row := parameter.get_help_record(ctx):
                sections[getattr(parameter, "rich_help_panel", None) or kind].append(row)
        for name, rows in sections.items():
            if rows:
                with formatter.section(name):
                    formatter.write_dl(rows)


class Panels(TyperGroup):
    """A group whose help lists its verbs by their panels, with the whole first sentence of each."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each panel that has a verb; verbs without a panel stand under 'Commands'."""
        panels: dict[str, list[tuple[str, str]]] = {panel: [] for panel in PANELS}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None)
            rows = panels.setdefault(panel if isinstance(panel, str) else "Commands", [])
            rows.append((name, command.get_short_help_str(sys.maxsize)))
        for panel, rows in panels.items():
            if rows:
                with formatter.section(panel):
                    formatter.write_dl(rows)


def create_group(help: str, *, completion: bool = False, verb_without_name: bool = False) -> typer.Typer:
    """Create a group of verbs, which shows its help if none is named, unless it does something itself.

    Args:
        completion: whether it has the options that install completion for a shell.
        verb_without_name: whether its callback is what it does if no verb is named.
    """
    return typer.Typer(
        cls=Panels,
        help=help,
        no_args_is_help=not verb_without_name,
        add_completion=completion,
        context_settings=_SETTINGS,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def list_examples(help: str) -> list[str]:
    """List the examples in a verb's help or docstring: commands as a user would type them."""
    lines = (line.strip().removeprefix("Example: ") for line in help.splitlines())
    return [line for line in lines if line.startswith("repro ")]


def _keep_examples(help: str) -> str:
    r"""Put each paragraph that is an example behind a line of `\b`, so that its line is not wrapped."""
    paragraphs = inspect.cleandoc(help).split("\n\n")
    return "\n\n".join(f"\b\n{text}" if list_examples(text) else text for text in paragraphs)
