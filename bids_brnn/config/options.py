"""What a field of a configuration says of its option.

A field is all there is to an option: the command line, the TOML file, the Boutiques descriptor
and the tables of ``docs/usage.md`` follow from its name, its type, its default and what
:func:`option` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Kind = Literal["path", "text", "number", "switch", "paths", "texts", "table"]
Group = Literal["place", "selection", "method", "resources", "control"]
Choices = tuple[str, ...] | Callable[[], tuple[str, ...]]
T = TypeVar("T")

_KEY = "option"
_SIMPLE: Mapping[Any, Kind] = {Path: "path", bool: "switch", int: "number", str: "text"}


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a run."""

    name: str = ""
    kind: Kind = "text"
    required: bool = False
    """These three follow from the field."""
    help: str
    group: Group
    """Part of the help it stands in; ``place``: given by position, not by name."""
    flags: tuple[str, ...] = ()
    """Spellings on the command line; empty: the name with hyphens."""
    metavar: str | None = None
    """What stands for the value in the help; None: by the kind."""
    choices: Choices = ()
    """Values allowed, or what tells them; empty: any, or those of the type."""
    least: int | None = None
    """Smallest number allowed."""
    unit: Literal["", "MB"] = ""
    """Unit of the number; on the command line another one may follow it."""
    exists: Literal["file", "folder"] | None = None
    """What has to be at the path."""
    entity: str = ""
    """BIDS entity whose labels the texts are; on the command line they may begin with it."""
    kept: bool = False
    """Whether the text of the file is stored with the options, so that a run can be repeated."""
    bare: tuple[str, ...] = ()
    """Value where the option is given without any; empty: it needs one."""
    files: tuple[str, ...] = ()
    """Suffixes of files that may be named in place of a word, so that the option is a name or a
    path; a folder counts where it holds a file with the first of them."""
    or_words: tuple[str, ...] = ()
    """The text is a number of at least 1, in a file also without quotes, or one of these words."""
    counted: bool = False
    """Whether the number is how often the flag is given."""

    @property
    def known(self) -> tuple[str, ...]:
        """Values allowed; empty: any."""
        return self.choices() if callable(self.choices) else self.choices


def option(text: str, default: T, *, group: Group, **about: Any) -> T:
    """A field of a configuration that is an option.

    Parameters
    ----------
    text
        Its help.
    default
        Its value where nobody gives one.
    group, about
        As in :class:`Option`.
    """
    said = required(text, group=group, **about)
    if isinstance(default, dict):  # each run has one of its own
        made: Any = field(default_factory=default.copy, metadata=said)
    else:
        made = field(default=default, metadata=said)
    return made  # type: ignore[no-any-return]


def required(text: str, *, group: Group, **about: Any) -> Mapping[str, Option]:
    """Metadata of a field without a default."""
    return {_KEY: Option(help=text, group=group, **about)}


def options_of(config: type) -> tuple[Option, ...]:
    """The options of a configuration in the order of its fields."""
    types = get_type_hints(config)
    return tuple(_completed(item, types[item.name]) for item in fields(config) if item.metadata)


def _completed(item: Field[Any], annotation: Any) -> Option:
    said: Option = item.metadata[_KEY]
    return replace(
        said,
        name=item.name,
        kind=kind_of(annotation),
        required=item.default is MISSING and item.default_factory is MISSING,
        flags=said.flags or (f"--{item.name.replace('_', '-')}",),
        choices=said.choices or _literals(annotation),
    )


def kind_of(annotation: Any) -> Kind:
    """The kind of option that holds values of a type.

    Raises
    ------
    TypeError
        If there is none.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        inner = [part for part in parts if part is not NoneType]
        if len(inner) == 1:
            return kind_of(inner[0])
    elif origin is tuple:
        return "paths" if kind_of(parts[0]) == "path" else "texts"
    elif origin is Mapping:
        return "table"
    elif origin is Literal:
        return "text"
    elif annotation in _SIMPLE:
        return _SIMPLE[annotation]
    raise TypeError(f"an option cannot be of the type {annotation}")


def _literals(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(text for part in get_args(annotation) for text in _literals(part))
