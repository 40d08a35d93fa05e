# Podium's web server: pages, API and admin. No torch: trainers run in the worker's image.
# Build it from the project's folder: docker build -f docker/web.Dockerfile -t podium-web .

FROM node:22-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM python:3.11-slim-bookworm AS build
# A mirror of the package index, where there is one.
ARG PIP_INDEX_URL
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY requirements/web.txt /tmp/requirements/
RUN pip install --no-cache-dir -r /tmp/requirements/web.txt
WORKDIR /app
COPY manage.py ./
COPY config/ config/
COPY labeling/ labeling/
COPY locale/ locale/
COPY templates/ templates/
COPY training/ training/
COPY --from=packages /app/node_modules/ node_modules/
# The secret key that a start makes where none is given stays behind in this stage.
RUN DATA_DIR=/tmp/data STATIC_ROOT=/app/static python manage.py collectstatic --no-input \
    && python -m compileall -q config labeling training

FROM python:3.11-slim-bookworm
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/data \
    STATIC_ROOT=/app/static
# A new named volume takes its owner from this folder, so both images make it alike.
RUN groupadd --gid 10001 podium \
    && useradd --uid 10001 --gid podium --no-create-home --shell /usr/sbin/nologin podium \
    && install -d -o podium -g podium /data
WORKDIR /app
COPY --from=build /venv/ /venv/
COPY --from=build /app/ /app/
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000
# 127.0.0.1 must stay one of ALLOWED_HOSTS for this.
HEALTHCHECK --interval=15s --timeout=6s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=5)"]
# The heartbeat files of gunicorn lie in memory: a slow disk must not look like a hung worker.
CMD ["gunicorn", "config.wsgi", "--bind=0.0.0.0:8000", "--worker-class=gthread", "--workers=2", \
    "--threads=32", "--timeout=120", "--graceful-timeout=30", "--worker-tmp-dir=/dev/shm", \
    "--no-control-socket", "--access-logfile=-"]
