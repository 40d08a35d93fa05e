"""The HTTP face of labeling under ``/api/v1/``."""
