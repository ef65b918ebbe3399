"""What is given to others tells nothing of the machine that made it."""

import getpass
import re
import socket
from pathlib import Path

TEXTS = {".html", ".json", ".tsv", ".md", ".txt", ".toml", ".svg", ".bib", ".bidsignore", ""}
PRIVATE = {"log", "logs"}
"""Records of runs, for who ran them (docs/reports.md): paths in them repeat a run."""
COMMON = {"root", "user", "data", "brain", "image", "mask", "series", "localhost"}
"""Names that are words of every page."""


def test_no_path_user_or_host_in_outputs(finished, tmp_path):
    _, out, work, _, _ = finished
    names = {socket.gethostname(), getpass.getuser(), Path.home().name} - COMMON
    own = [str(out.parent), str(work), str(Path.home()) + "/", *(n for n in names if len(n) > 3)]
    absolute = re.compile(r"(?<![\w:/.<*+~-])/(?:home|Users|root|tmp|mnt|scratch|opt|usr|var)/\w")
    read = 0
    for path in sorted(out.rglob("*")):
        if not path.is_file() or PRIVATE & set(path.relative_to(out).parts):
            continue
        if path.suffix not in TEXTS:
            continue
        text = path.read_text("utf-8")
        # Scripts of others and images hold anything by chance.
        text = re.sub(r'(?s)<script type="text/plain".*?</script>', "", text)
        text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
        text = re.sub(r'"[A-Za-z0-9+/=]{60,}"', "", text)
        read += 1
        assert not [name for name in own if name in text], path.name
        assert not absolute.search(text), (path.name, absolute.search(text))
    assert read > 50
    pages = [path.name for path in out.glob("*.html")]
    assert sorted(pages) == ["group.html", "sub-01.html", "sub-02.html"]
    assert "bids:raw:" in (out / "sub-01.html").read_text("utf-8")
