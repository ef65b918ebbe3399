# Build:  docker build -t bids_brnn .            (CPU)
#         docker build -t bids_brnn:cuda --build-arg TORCH_INDEX= .   (default wheels with CUDA)
# Run:    docker run --rm -v /data:/data:ro -v /out:/out -v /scratch:/scratch bids_brnn \
#             /data /out participant -w /scratch
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY bids_brnn ./bids_brnn
# hadolint ignore=DL3013
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels

FROM python:${PYTHON}-slim-bookworm
ARG TORCH_INDEX="https://download.pytorch.org/whl/cpu"
ARG TORCH="torch==2.13.0"
LABEL org.opencontainers.image.title="bids_brnn" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="qMT and MR fingerprinting maps from BIDS data"
COPY --from=build /wheels /wheels
RUN if [ -n "${TORCH_INDEX}" ]; then \
        pip install --no-cache-dir --index-url "${TORCH_INDEX}" "${TORCH}"; \
    else \
        pip install --no-cache-dir "${TORCH}"; \
    fi \
    && pip install --no-cache-dir /wheels/*.whl \
    # brain masks; deepbet without its window toolkit
    && pip install --no-cache-dir connected-components-3d fill-voids \
    && pip install --no-cache-dir --no-deps deepbet \
    && rm -rf /wheels \
    && useradd --create-home --uid 1000 brnn
# One thread per library; the program sets more itself, from --omp-nthreads. Nothing phones home,
# and nothing needs a writable root file system or HOME.
ENV OMP_NUM_THREADS=1 \
    MKL_NUM_THREADS=1 \
    NO_ET=1 \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp
USER brnn
WORKDIR /tmp
ENTRYPOINT ["bids_brnn"]
