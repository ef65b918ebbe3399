#!/bin/sh
# What the image needs beside /opt/bids_brnn: a user without rights and, where asked for, MRtrix3.
#
# Environment: WITH_MRTRIX=1 for --denoise dwidenoise and --degibbs
set -eu
useradd --create-home --uid 1000 brnn
if [ "${WITH_MRTRIX:-}" = 1 ]; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends mrtrix3
    rm -rf /var/lib/apt/lists/*
fi
