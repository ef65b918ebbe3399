"""A fresh Debian in a folder, the RUN steps of the Dockerfile in it, and programs run there.

It needs the package ``debootstrap`` and the rights of root, but no Docker: the steps run under
``chroot``. ``DEBIAN_ROOT`` names a root that debootstrap made before, which is copied;
``DEBIAN_MIRROR`` the address of a mirror in place of the one that debootstrap knows.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PROGRAMS = ("debootstrap", "chroot", "unshare", "setpriv", "mount")
PACKAGES = "python3,python3-venv,ca-certificates"
_STRANGER = 1234
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def why_not() -> str:
    """Why there can be no root of its own here; empty: there can."""
    needed = PROGRAMS[1:] if os.environ.get("DEBIAN_ROOT") else PROGRAMS
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install debootstrap"
    return "" if os.geteuid() == 0 else "chroot needs root"


def fresh(folder: Path) -> None:
    """Debian 12 with Python, as small as it can be."""
    made = os.environ.get("DEBIAN_ROOT")
    wanted = ["--variant=minbase", f"--include={PACKAGES}", "bookworm"]
    mirror = os.environ.get("DEBIAN_MIRROR")
    words = ["cp", "-a", made, folder] if made else ["debootstrap", *wanted, folder]
    if mirror and not made:
        words.append(mirror)
    subprocess.run(words, check=True, capture_output=True)


class Dockerfile:
    """What a Dockerfile says, stage by stage."""

    def __init__(self, path: Path):
        lines = (line for line in path.read_text().splitlines() if not line.startswith("#"))
        text = re.sub(r"\\\n", " ", "\n".join(lines))
        steps = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
        self.defaults = dict(
            shlex.split(rest)[0].split("=", 1) for word, rest in steps if word == "ARG"
        )
        starts = [place for place, (word, _) in enumerate(steps) if word == "FROM"]
        ends = [*starts[1:], len(steps)]
        self.stages = [steps[i + 1 : j] for i, j in zip(starts, ends, strict=True)]


class Image:
    """The last stage of a Dockerfile, built into ``folder``."""

    def __init__(self, folder: Path, context: Path):
        self.context, self.root = context, folder / "image"
        self._volumes: list[tuple[Path, str]] = []
        self.variables: dict[str, str] = {}
        recipe = Dockerfile(context / "Dockerfile")
        self.arguments = {
            name: os.environ.get(name, default) for name, default in recipe.defaults.items()
        }
        first = folder / "build"
        for root, steps in zip((first, self.root), recipe.stages, strict=True):
            fresh(root)
            self._workdir = Path("/")
            self.variables = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
            for word, rest in steps:
                self._step(root, first, word, rest)

    def _step(self, root: Path, first: Path, word: str, rest: str) -> None:
        if word == "COPY":
            parts = rest.split()
            source = first if parts[0].startswith("--from=") else self.context
            *names, to = [part for part in parts if not part.startswith("--")]
            target = root / (self._workdir / to).relative_to("/")
            for name in names:
                self._copy(source / name.removeprefix("/"), target, into=to.endswith("/"))
        elif word == "RUN":
            self._run(root, rest)
        elif word == "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                path = self.variables["PATH"]
                self.variables[name] = value.replace("${PATH}", path)
        elif word == "WORKDIR":
            self._workdir = Path(rest)
            (root / rest.removeprefix("/")).mkdir(parents=True, exist_ok=True)

    @staticmethod
    def _copy(source: Path, target: Path, *, into: bool) -> None:
        target = target / source.name if into else target
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", source, target], check=True)

    def _run(self, root: Path, line: str) -> None:
        """A RUN step, with the network and the package settings of this machine."""
        kept = {name: text for name, text in os.environ.items() if name.startswith("PIP_")}
        folders = [Path(word) for word in kept.get("PIP_FIND_LINKS", "").split()]
        mounts = [(folder, str(folder)) for folder in folders if folder.is_dir()]
        for file in ("/etc/resolv.conf", _CERTIFICATES):
            mounts += [(Path(file), file)] if Path(file).exists() else []
        done = self._inside(
            root, ["/bin/sh", "-ec", f"cd {self._workdir} && {line}"],
            {**self.variables, **self.arguments, **kept}, mounts=mounts,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def run(
        self, *words: object, places: Sequence[tuple[Path, str]] = (), writable_tmp: bool = True,
        cwd: str = "/tmp", seconds: float = 900,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """A program as a user without rights, name or home; the root can only be read.

        ``places`` are folders of this machine and where they lie in the image.
        """
        who = f"--reuid={_STRANGER} --regid={_STRANGER} --clear-groups --no-new-privs"
        line = f'cd {cwd}; exec setpriv {who} "$@"'
        return self._inside(
            self.root, ["/bin/sh", "-ec", line, "sh", *map(str, words)],
            self.variables, mounts=places, read_only=True, writable_tmp=writable_tmp,
            seconds=seconds,
        )  # fmt: skip

    def _inside(
        self, root: Path, words: Sequence[str], variables: dict[str, str], *,
        mounts: Sequence[tuple[Path, str]] = (), read_only: bool = False,
        writable_tmp: bool = True, seconds: float = 1800,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run in a mount namespace of its own, whose mounts end with it."""
        at = shlex.quote(str(root))
        script = [f"mount --bind {at} {at}", f"mount -t proc proc {at}/proc",
                  f"mount --rbind /dev {at}/dev"]  # fmt: skip
        for source, target in mounts:
            place = root / target.removeprefix("/")
            if source.is_dir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            script.append(f"mount --bind {shlex.quote(str(source))} {shlex.quote(str(place))}")
        if read_only:
            script.append(f"mount -o remount,bind,ro {at}")
            script += [f"mount -t tmpfs -o mode=1777 tmp {at}/tmp"] if writable_tmp else []
            script.append(f"mount -t tmpfs -o ro none {at}/dev/shm")
        script.append(f'exec chroot {at} /usr/bin/env -i "$@"')
        given = [f"{name}={text}" for name, text in variables.items()]
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private",
             "sh", "-ec", "; ".join(script), "sh", *given, *words],
            capture_output=True, text=True, timeout=seconds,
        )  # fmt: skip
