"""The page of messages is read from the code."""

from __future__ import annotations

import ast

import pytest

from bids_brnn.cli.messages import _messages, message_tables, remedies, remedy_of, spoken, template


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ('"plain"', "plain"),
        ('f"{path.name} has {len(rows)} rows"', "<name> has <rows> rows"),
        ('f"use one of {\', \'.join(known)}" + "."', "use one of <known>."),
        ('f"{a + b:.3g} s"', "<...> s"),
    ],
)
def test_what_is_put_in_stands_in_angle_brackets(code, text):
    assert template(ast.parse(code, mode="eval").body) == text


def test_errors_come_with_their_exit_codes_and_notes_are_told_apart():
    tables = message_tables()
    assert "| 65 | `<name> selects no voxel.` |" in tables
    assert "| 74 | `<path> ends after <filled> of <buffer> bytes; copy it again.` |" in tables
    assert '| note | `<name>: no BoundaryCondition, "<start>" is assumed.` |' in tables
    assert "### NIfTI files to arrays" in tables


def test_messages_are_found_however_they_are_said():
    source = '''
_REPAIR = "mend {what} by hand"
def check(path, n):
    """Never a message, of however many words it may be."""
    if n: raise DataError(f"{path.name} has {n + 1} rows; {_REPAIR}.")
    _LOG.warning("%s: %.0f %% are lost; %s", path, n, _REPAIR.format(what="it"))
    _LOG.warning("%s: %s", path, words(n))
    problems.append(ReadError("the disk is gone", exit_code=EXIT_NOT_WRITABLE))
    return ReadError(f"{path} is damaged")
def words(n) -> str:
    return f"there are {n} of them in the end"
def short(n) -> str:
    return f"{n} of them"
'''
    found = [(message.code, message.text) for message in _messages(ast.parse(source))]
    assert sorted(found) == [
        ("65", "<name> has <...> rows; mend {what} by hand."),
        ("73", "the disk is gone"),
        ("74", "<path> is damaged"),
        ("note", "<path>: <n> % are lost; mend <what> by hand"),
        ("part", "there are <n> of them in the end"),
    ]


def test_every_message_has_a_cause_and_a_cure():
    modules = [module for module, _, _ in spoken()]
    without = [module for module in modules if remedy_of(module) is None]
    assert without == [], "write why, and what to do, into bids_brnn/cli/causes.toml"
    said = {id(remedy_of(module)) for module in modules}
    unused = [place for place, remedy in remedies().items() if id(remedy) not in said]
    assert unused == []
    for place, remedy in remedies().items():
        assert remedy.cause.endswith("."), place
        assert remedy.cure.endswith("."), place
