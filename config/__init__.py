"""Settings, addresses and processes: how the two applications are put together."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
