"""The HTTP face of training under ``/api/v1/``."""
