"""The page of messages is read from the code."""

from __future__ import annotations

import ast

import pytest

from bids_brnn.cli.messages import message_tables, template


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
