"""Messages of a run reach the terminal and its file."""

from __future__ import annotations

import logging

import pytest

from bids_brnn.app.logs import log_file, messages
from bids_brnn.errors import OutputError

LOG = logging.getLogger("bids_brnn.estimate")


def test_messages_go_to_the_log_file(tmp_path, capsys):
    file = log_file(tmp_path, "run")
    assert file == tmp_path / "logs" / "run.log"
    with pytest.raises(KeyError), messages(0, file):
        LOG.info("half way")
        assert logging.getLogger("nipype.workflow").level == logging.CRITICAL
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
