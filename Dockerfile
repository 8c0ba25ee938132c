# Two stages: wheels are built where a compiler may be, and run where none is. docs/adr/0024-image.md says why and what was
# not run. Tags are exact; put a digest behind them once you have pulled what you trust.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /build
COPY requirements.txt ./
RUN python -m venv --without-pip /venv && \
    python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check -r requirements.txt

FROM python:3.11.14-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bff" \
      org.opencontainers.image.description="A Backend-for-Frontend for browser applications" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11.14-slim-bookworm"
RUN groupadd --gid 10001 bff && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin bff
WORKDIR /app
COPY --from=build /venv /venv
# No config: the one of this repository is the demo's. Mount yours at /app/config, or set BFF_CONFIG_DIR.
COPY bff bff
COPY wsgi.py gunicorn.conf.py ./
# Nobody can write it later: all files are root's, and the root may be read-only. What the BFF writes goes to /dev/shm.
RUN /venv/bin/python -m compileall -q bff wsgi.py
USER 10001:10001
ENV PATH=/venv/bin:$PATH ENVIRONMENT=production PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", "import os,urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/health/live', timeout=2)"]
CMD ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
