"""Messages of a run reach the terminal and its file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bids_brnn.app.logs import log_file, messages
from bids_brnn.errors import OutputError

LOG = logging.getLogger("bids_brnn.estimate")


def test_messages_go_to_the_log_file(tmp_path, capsys):
    file = log_file(tmp_path, "run")
    assert file == tmp_path / "logs" / "run.log"
    with pytest.raises(KeyError), messages(0, file):
        LOG.info("half way")
        assert logging.getLogger("nipype.workflow").level > logging.CRITICAL
        raise KeyError
    assert "half way" in file.read_text()
    assert "half way" in capsys.readouterr().err
    LOG.info("too late")
    assert "too late" not in file.read_text()
    assert logging.getLogger("bids_brnn").propagate


def test_no_log_is_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "logs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link"):
        log_file(tmp_path / "out", "run")


@pytest.mark.parametrize("where", ["/dev/full", "/proc/none/run.log"])
def test_a_log_that_cannot_be_written_is_given_up_with_one_sentence(capsys, where):
    with messages(0, Path(where)):
        LOG.info("first")
        LOG.info("second")
    said = capsys.readouterr().err
    assert said.count("cannot write the log") == 1
    assert "first" in said
    assert "second" in said
    assert "Traceback" not in said
