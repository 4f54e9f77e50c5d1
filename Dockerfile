# One image for all five services; which one runs, the command says.
#
#   docker build -t tracking-system .                              people are found on the CPU
#   docker build -t tracking-system:torch --build-arg EXTRAS=torch .        on a GPU, with torch
#   docker build -t tracking-system:edge --build-arg EXTRAS= .     no networks: ingest, store, viewer

FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /venv
WORKDIR /source
ARG EXTRAS=openvino
# The dependencies in a layer of their own, which stays while only code changes.
COPY pyproject.toml ./
COPY tracking_system/version.py tracking_system/
RUN touch README.md && /venv/bin/pip install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}"
COPY . .
RUN /venv/bin/pip install --no-cache-dir --no-deps --force-reinstall .

FROM debian:bookworm-slim
# libgl1, libglib2.0-0 and, for the viewer's window, libsm6: what OpenCV needs and its wheel does not carry.
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 ca-certificates libgl1 libglib2.0-0 libsm6 \
    && rm -rf /var/lib/apt/lists/*
# A new volume takes over the mode of the folder it is mounted on, so any user may write there.
RUN useradd --uid 1000 --create-home tracking \
    && install -d /config /models \
    && install -d -m 1777 /data /cache
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRACKING_SYSTEM_CACHE=/cache
USER tracking
WORKDIR /config
ENTRYPOINT ["tracking-system"]
CMD ["--help"]
