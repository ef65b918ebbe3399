"""``brnn``: subcommands, help without heavy imports, messages and exit codes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from bids_brnn.cli.toolbox import main as toolbox
from bids_brnn.errors import EXIT_USAGE, DataError


def test_help_names_every_command_and_loads_no_torch():
    code = (
        "import sys\nfrom bids_brnn.cli.toolbox.main import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n    print('torch' in sys.modules, 'nibabel' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0
    assert shown.stdout.rstrip().endswith("False False")
    for name in toolbox.COMMANDS:
        assert f"  {name} " in shown.stdout


@pytest.mark.parametrize("name", list(toolbox.COMMANDS))
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        toolbox.main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: brnn {name}")
    assert toolbox.COMMANDS[name][1][1:40] in " ".join(shown.split()), "names keep their letters"


def test_the_page_on_usage_names_every_command(request):
    page = (request.config.rootpath / "docs" / "usage.md").read_text(encoding="utf-8")
    table = page.partition("## The toolbox")[2].partition("\n## ")[0]
    assert [name for name in toolbox.COMMANDS if f"`brnn {name}" not in table] == []


def test_an_option_of_an_import_names_the_sources_that_have_a_use_for_it(capsys):
    with pytest.raises(SystemExit):
        toolbox.main(["import", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "image without MT pulse [quit]" in shown
    assert "of the excitation, degrees [qmrlab, quit]" in shown
    assert "voxels to estimate --" in shown, "an option of all names none"


def test_nothing_and_unknown_commands_are_usage_errors(capsys):
    assert toolbox.main([]) == EXIT_USAGE
    assert "commands:" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        toolbox.main(["estimate"])
    assert ended.value.code == EXIT_USAGE


def test_version(capsys):
    from bids_brnn import __version__

    with pytest.raises(SystemExit) as ended:
        toolbox.main(["--version"])
    assert ended.value.code == 0
    assert __version__ in capsys.readouterr().out


WORDS = ["simulate", "--model", "fisp", "--pulses", "a", "--parameters", "b", "--out", "c"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("the basis is odd; get another", exit_code=74), 74, "the basis is odd"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/out/map.nii"), 73, "Free space"),
        (MemoryError(), 75, "The memory does not suffice"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_curable_errors_are_one_line_and_their_code(monkeypatch, capsys, error, code, words):
    from bids_brnn.cli.toolbox import simulate

    def broken(_options):
        raise error

    monkeypatch.setattr(simulate, "run", broken)
    assert toolbox.main(WORDS) == code
    said = capsys.readouterr().err
    assert said.startswith("brnn simulate: ")
    assert words in said
    assert said.count("\n") == 1


def test_what_nobody_can_cure_keeps_its_traceback(monkeypatch):
    from bids_brnn.cli.toolbox import simulate

    def broken(_options):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(simulate, "run", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        toolbox.main(WORDS)
