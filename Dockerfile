# Build:  docker build -t bids_brnn .                                       (CPU)
#         docker build -t bids_brnn:cuda --build-arg TORCH_INDEX= .         (CUDA)
#         docker build -t bids_brnn:mrtrix --build-arg WITH_MRTRIX=1 .      (with MRtrix3)
# Run:    docker run --rm -v /data:/data:ro -v /out:/out -v /scratch:/scratch bids_brnn \
#             /data /out participant -w /scratch
#         docker run --rm --entrypoint brnn bids_brnn models                (the toolbox)
# Another base has to be a Debian or Ubuntu with Python 3.11 and its venv.
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY bids_brnn ./bids_brnn
COPY pipelines/container ./pipelines/container
ARG TORCH_INDEX="https://download.pytorch.org/whl/cpu"
RUN TORCH_INDEX="${TORCH_INDEX}" pipelines/container/install.sh /src

FROM ${BASE}
ARG WITH_MRTRIX=""
LABEL org.opencontainers.image.title="bids_brnn" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="qMT and MR fingerprinting maps from BIDS data"
COPY pipelines/container/system.sh /opt/
RUN WITH_MRTRIX="${WITH_MRTRIX}" /opt/system.sh
COPY --from=build /opt/bids_brnn /opt/bids_brnn
# One thread per library; the program sets more itself, from --omp-nthreads. Nothing phones home,
# and nothing needs a writable root file system or HOME.
ENV PATH=/opt/bids_brnn/bin:${PATH} \
    OMP_NUM_THREADS=1 \
    MKL_NUM_THREADS=1 \
    NO_ET=1 \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["bids_brnn"]
