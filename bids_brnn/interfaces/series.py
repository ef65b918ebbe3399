"""What names and sidecars need to know of a series, as a file that nodes can take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_brnn.bids.input.acquisition import Acquisition
from bids_brnn.errors import ReadError
from bids_brnn.files import write_text


@dataclass(frozen=True)
class SeriesRecord:
    """The origin of maps: entities, metadata and sources of a series."""

    name: str
    kind: str
    model: str
    entities: Mapping[str, str]
    metadata: Mapping[str, Any]
    sources: list[str]
    companions: Mapping[str, str]
    """BIDS URIs of the images that went in beside the series, by role."""
    network_notes: list[str] = field(default_factory=list)
    """Networks that were left aside, and why."""
    network_warning: str = ""
    """Why the maps of the network must not be trusted."""
    network_marks: Mapping[str, str] = field(default_factory=dict)
    """What to beware of in single maps of the network, by parameter."""

    @classmethod
    def of(
        cls,
        acquisition: Acquisition,
        companions: Mapping[str, Path],
        *,
        network_notes: Sequence[str] = (),
        network_warning: str = "",
        network_marks: Mapping[str, str] | None = None,
    ) -> SeriesRecord:
        """The record of a series and of the companions that are used with it."""
        return cls(
            name=acquisition.name,
            kind=acquisition.kind,
            model=acquisition.model,
            entities=dict(acquisition.entities),
            metadata=dict(acquisition.metadata),
            sources=acquisition.sources,
            companions={role: acquisition.uri(path) for role, path in companions.items()},
            network_notes=list(network_notes),
            network_warning=network_warning,
            network_marks=dict(network_marks or {}),
        )

    def to_file(self, path: Path) -> Path:
        """Write as JSON, whole or not at all; the same record gives the same bytes."""
        write_text(path, json.dumps(vars(self), indent=1, sort_keys=True) + "\n")
        return path

    @classmethod
    def from_file(cls, path: Path) -> SeriesRecord:
        """Read what :meth:`to_file` wrote.

        Raises
        ------
        ReadError
            If the file is absent or not one of ours.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ReadError(f"Cannot read the series description {path}: {error}.") from error
