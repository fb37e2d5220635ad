# The project with the environment of `make`, a compiler for its kernels, and no root.
#
#   docker build --tag kvbench .
#   docker run --rm --volume kvbench-results:/kvbench/results kvbench            # make all
#   docker run --rm kvbench test                                                 # make test
#
# CUDA: the package index's torch holds it; docker run --gpus all. CPU alone, smaller:
# --build-arg PIP_ARGS='--extra-index-url ...' with the index that pytorch.org names for CPU builds.
FROM debian:12.12-slim

# The release's own versions: a pinned one is gone from the mirrors with the next update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates g++ git make python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

# A uid of yours, where results go to a folder of yours: --build-arg UID=$(id -u)
ARG UID=1000
RUN useradd --create-home --uid "$UID" kvbench && install --directory --owner kvbench /kvbench
USER $UID
WORKDIR /kvbench

# What the environment is made of comes first: an edit elsewhere does not make it again.
COPY --chown=kvbench Makefile pyproject.toml requirements.lock README.md LICENSE ./
COPY --chown=kvbench src/kvbench/__init__.py src/kvbench/
ARG PIP_ARGS=
RUN make .venv/.ready PIP_ARGS="--no-cache-dir $PIP_ARGS"

COPY --chown=kvbench . .
# COPY dates files as they are: without this the environment would look older than its sources.
RUN touch .venv/.ready && mkdir -p results resources logs
ENTRYPOINT ["make"]
CMD ["all"]
