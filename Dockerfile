# Two stages: libraries are installed with pip, and run where there is none. No compiler is needed in either, but for
# `--build-arg FAST=1` (requirements-fast.txt). docs/adr/0024-image.md says why, and what was not run. Tags are exact; put a
# digest behind them once you have pulled what you trust.
FROM python:3.11.14-slim-bookworm AS build
ARG FAST=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY requirements.txt requirements-fast.txt ./
RUN python -m venv --without-pip /venv && \
    python -m pip --python /venv/bin/python install --only-binary :all: -r requirements.txt
# hadolint ignore=DL3008,DL3009
RUN [ -z "$FAST" ] || { apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev; }
RUN [ -z "$FAST" ] || python -m pip --python /venv/bin/python install -r requirements-fast.txt

FROM python:3.11.14-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bff" \
      org.opencontainers.image.description="A Backend-for-Frontend for browser applications" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11.14-slim-bookworm"
RUN groupadd --gid 10001 bff && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin bff
WORKDIR /app
COPY --from=build /venv /venv
# No config: the one of this repository is the demo's. Mount yours at /app/config, or set BFF_CONFIG_DIR.
COPY bff bff
COPY wsgi.py gunicorn.conf.py LICENSE ./
# No user can change it later: all files are root's, and the root may be read-only. What the BFF writes goes to /dev/shm.
RUN /venv/bin/python -m compileall -q bff wsgi.py
USER 10001:10001
ENV PATH=/venv/bin:$PATH ENVIRONMENT=production PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", "import os,urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/health/live', timeout=2)"]
CMD ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
