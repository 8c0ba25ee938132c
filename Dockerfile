# Two stages: wheels are built where a compiler may be, and run where none is.
FROM python:3.11-slim-bookworm AS build
COPY requirements.txt .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir -r requirements.txt

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin bff
WORKDIR /app
COPY --from=build /venv /venv
COPY bff bff
# No config: the one of this repository is the demo's. Mount yours at /app/config, or set BFF_CONFIG_DIR.
COPY wsgi.py gunicorn.conf.py ./
USER 10001
ENV PATH=/venv/bin:$PATH ENVIRONMENT=production PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", "import os,urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/health/live', timeout=2)"]
CMD ["gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"]
