# syntax=docker/dockerfile:1
# Two targets from one file: `docker build --target cpu .` (the default) and `--target gpu`.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

# The wheel alone leaves this stage: neither sources nor build tools reach an image.
FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY foretoken foretoken
COPY exporters exporters
COPY kernels kernels
COPY models models
COPY proto proto
COPY server server
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# What both targets share: a user without rights, a folder for data, ports and a health check.
FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FORETOKEN_HOST=0.0.0.0 \
    FORETOKEN_DATA_DIR=/data
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin foretoken \
    && install --directory --owner=foretoken --mode=0750 /data
WORKDIR /data
VOLUME /data
EXPOSE 8100 8101
STOPSIGNAL SIGTERM
# Asks grpc.health.v1 on the server's own port; with TLS, set the probe's options (docs/operate.md).
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-m", "foretoken.client.probe"]
ENTRYPOINT ["foretoken"]
CMD ["serve"]

FROM base AS gpu
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    set -- /wheels/foretoken-*.whl && pip install --no-cache-dir "$1[gpu]"
USER foretoken

# Last, so that it is what `docker build .` makes. PyPI's torch brings CUDA; this index does not.
FROM base AS cpu
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu \
    "torch>=2.11,<=2.13.0"
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    set -- /wheels/foretoken-*.whl && pip install --no-cache-dir "$1[cpu]"
USER foretoken
