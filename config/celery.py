"""Celery in service mode: a doorbell for the workers. What is to be done stands in the database."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings

app = Celery("podium", broker=settings.REDIS_URL or "memory://")
app.conf.update(
    accept_content=["json"],
    task_ignore_result=True,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"socket_timeout": 30, "socket_keepalive": True},
    task_default_queue="gpu",
    timezone="UTC",
)
app.autodiscover_tasks(["training"])
