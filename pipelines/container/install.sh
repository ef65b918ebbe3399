#!/bin/sh
# Installs the program and what it needs into /opt/bids_brnn: the same lines for Docker, for Apptainer
# and for a plain Debian that has python3, python3-venv and ca-certificates.
#
#   install.sh SOURCE    a wheel of the program, or its folder with pyproject.toml
#
# Environment: TORCH_INDEX is the address of the wheels of PyTorch; empty: those of the package index,
# with CUDA.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
place=/opt/bids_brnn
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

python3 -m venv "$place"
# Versions that were tested together; the container of a year later has the same ones.
install() { "$place/bin/python" -m pip install --quiet --constraint "$here/constraints.txt" "$@"; }
if [ -n "${TORCH_INDEX:-}" ]; then
    install --index-url "$TORCH_INDEX" torch
else
    install torch
fi
install "$1[parquet]" bids-validator-deno
# Brain masks; deepbet without customtkinter, a window toolkit that is never imported here.
install connected-components-3d fill-voids
install --no-deps deepbet

# What ships, for those who have to know: a bill of materials, and every licence.
inventory=$(mktemp -d)
python3 -m venv "$inventory"
"$inventory/bin/python" -m pip install --quiet --constraint "$here/constraints.txt" cyclonedx-bom
mkdir -p "$place/share"
"$inventory/bin/cyclonedx-py" environment "$place/bin/python" --output-reproducible \
    --output-file "$place/share/sbom.cdx.json"
rm -rf "$inventory"
"$place/bin/python" "$here/licences.py" > "$place/share/licences.tsv"
"$place/bin/python" -m pip uninstall --quiet --yes pip # nothing is installed later
