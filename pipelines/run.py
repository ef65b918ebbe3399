"""Build and run the workflow of a configuration in Python, to look at it or to extend it.

Usage: python run.py qmt/config.toml BIDS_DIR OUTPUT_DIR [PARTICIPANT ...]
"""

import sys
from pathlib import Path

from nipype.pipeline.engine import Workflow

from bids_brnn import __version__
from bids_brnn.bids import find_acquisitions
from bids_brnn.bids.output.dataset_files import write_dataset_files
from bids_brnn.config.run_config import RunConfig
from bids_brnn.workflows import init_participant_wf


def main(config_file: str, bids_dir: str, output_dir: str, *participants: str) -> Workflow:
    config = RunConfig.from_file(
        Path(config_file),
        bids_dir=Path(bids_dir).absolute(),
        output_dir=Path(output_dir).absolute(),
        work_dir=Path("work").absolute(),
        participant_label=participants,
    )
    found = find_acquisitions(
        config.bids_dir, participants=config.participant_label or None, kinds=[config.modality]
    )
    links = found.acquisitions[0].links
    write_dataset_files(config.output_dir, links=links, version=__version__)
    # The place to connect nodes of your own is here, see docs/nipype.md.
    return init_participant_wf(config, found.acquisitions, base_dir=config.work_dir)


if __name__ == "__main__":
    main(*sys.argv[1:]).run()
