"""The words of a command line as argparse takes them, wherever the folders stand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from bids_brnn.cli.foreign import own_values, without_foreign

_MANY = ("*", "+")


@dataclass
class _Given:
    """An option and the words that follow it."""

    flag: str
    action: argparse.Action | None
    open: bool = False
    """Whether it takes all words up to the next option."""
    words: list[str] = field(default_factory=list)

    def spare(self, n: int) -> bool:
        """Whether ``n`` words at its end may be somebody else's."""
        needed = 1 if self.action is not None and self.action.nargs == "+" else 0
        return self.open and len(self.words) >= n + needed


def rewritten(
    parser: argparse.ArgumentParser, words: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Words for argparse, and what to note of those that were left out.

    Positional arguments come first, also those that an option with several values would swallow.
    Options and values of other programs that change nothing are left out.

    Parameters
    ----------
    parser
        Knows the options.
    words
        Of the command line.

    Raises
    ------
    UsageError
        For an option or a value of another program that means nothing here.
    """
    words, notes = without_foreign(words, set(parser._option_string_actions))
    if "--" in words:  # whoever writes this knows what is positional
        return words, notes
    free, options = _taken_apart(parser, words)
    free = _with_swallowed(parser, free, options)
    kept = []
    for item in options:
        values, more = own_values(item.action.dest if item.action else "", item.words)
        notes += more
        if values or not item.words:
            kept += [item.flag, *values]
    return [*free, *kept], notes


def _with_swallowed(
    parser: argparse.ArgumentParser, free: list[str], options: Sequence[_Given]
) -> list[str]:
    """Positional arguments with those at the end of a list of values.

    In ``--participant-label 01 /data /out participant`` the folders and the level are none of the
    labels. As many words as are missing end the list that ends with a level; where the level
    stands free, they are the first list's that ends with the data set.
    """
    positionals = [action for action in parser._actions if not action.option_strings]
    levels = [str(level) for level in positionals[-1].choices or ()]
    missing = len(positionals) - len(free)
    if missing <= 0:
        return free
    for item in (item for item in options if item.spare(missing)):
        cut = len(item.words) - missing
        swallowed = item.words[cut:]
        if item.words[-1] in levels:
            del item.words[cut:]
            return free + swallowed
        if free and free[-1] in levels and Path(swallowed[0]).is_dir():
            del item.words[cut:]
            return swallowed + free
    return free


def _taken_apart(
    parser: argparse.ArgumentParser, words: Sequence[str]
) -> tuple[list[str], list[_Given]]:
    """Words that belong to no option, and options with theirs."""
    free: list[str] = []
    options: list[_Given] = []
    one_more = False
    for word in words:
        if word.startswith("-") and word[1:] and not _is_number(word):
            flag, equals, value = word.partition("=")
            action = _action(parser, flag)
            if equals and (action is None or value.startswith("-") or not word.startswith("--")):
                options.append(_Given(word, None))
            elif equals:
                options.append(_Given(flag, action, words=[value]))
            else:
                options.append(_Given(word, action, action is not None and action.nargs in _MANY))
            one_more = not equals and action is not None and action.nargs is None
        elif one_more or (options and (options[-1].open or _takes(options[-1], word))):
            options[-1].words.append(word)
            one_more = False
        else:
            free.append(word)
    return free, options


def _takes(given: _Given, word: str) -> bool:
    """Whether a word is the value of an option that may stand without one."""
    action = given.action
    may = action is not None and action.nargs == "?" and not given.words
    return may and word in (action.choices or ()) if action is not None else False


def _is_number(word: str) -> bool:
    return word[1:].replace(".", "", 1).isdigit()


def _action(parser: argparse.ArgumentParser, flag: str) -> argparse.Action | None:
    """The option of a flag, also of a long one cut short."""
    known = parser._option_string_actions
    if flag in known or not flag.startswith("--"):
        return known.get(flag)
    found = {id(action): action for name, action in known.items() if name.startswith(flag)}
    return next(iter(found.values())) if len(found) == 1 else None


def did_you_mean(words: Sequence[str], known: Sequence[str]) -> str:
    """A question for the first word that is like one of those known, or an empty text.

    >>> did_you_mean(["--particpant-label"], ["--participant-label", "--mask"])
    '; did you mean --participant-label?'
    """
    for word in words:
        if close := get_close_matches(word.replace("_", "-"), known, n=1, cutoff=0.75):
            return f"; did you mean {close[0]}?"
    return ""
