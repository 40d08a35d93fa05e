# Podium's worker: Celery, and the trainers that it starts as processes of their own.
# Build it from the project's folder: docker build -f docker/worker.Dockerfile -t podium-worker .
#
# No CUDA base image: on Linux the torch wheel brings the CUDA libraries that it was built with, and
# the NVIDIA container toolkit brings the driver's. A CUDA base would only hold a second copy.

FROM python:3.11-slim-bookworm AS build
# A mirror of the package index, or an index of torch builds for another device.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY requirements/web.txt requirements/worker.txt requirements/torch.txt /tmp/requirements/
RUN pip install --no-cache-dir -r /tmp/requirements/torch.txt
RUN pip install --no-cache-dir -r /tmp/requirements/web.txt -r /tmp/requirements/worker.txt
WORKDIR /app
COPY manage.py ./
COPY config/ config/
COPY labeling/ labeling/
COPY locale/ locale/
COPY templates/ templates/
COPY training/ training/
RUN python -m compileall -q config labeling training

FROM python:3.11-slim-bookworm
# HOME and the Hub's cache are where a read-only container can write.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HOME=/tmp \
    HF_HOME=/data/huggingface \
    DATA_DIR=/data \
    DJANGO_SETTINGS_MODULE=config.settings
# A new named volume takes its owner from this folder, so both images make it alike.
RUN groupadd --gid 10001 podium \
    && useradd --uid 10001 --gid podium --no-create-home --shell /usr/sbin/nologin podium \
    && install -d -o podium -g podium /data
WORKDIR /app
COPY --from=build /venv/ /venv/
COPY --from=build /app/ /app/
USER 10001:10001
VOLUME ["/data"]
# What /readyz tells of the web server: database, migrations, disk, Redis. Not `celery inspect ping`,
# which is slow and asks the broker alone; a worker that died has ended its container.
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import django; django.setup(); from config import health; \
raise SystemExit(health.ready(None).status_code != 200)"]
# One run at a time, in a thread: the GPU belongs to the trainer, a process that ends with its run.
CMD ["celery", "-A", "config", "worker", "-Q", "gpu", "-P", "threads", "-c", "1", \
    "--prefetch-multiplier=1", "--without-mingle", "--without-gossip", "--loglevel=INFO"]
