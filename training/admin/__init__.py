"""Runs and models in Django's admin, and what training adds to the pages of pools."""

from training.admin import pools, registry, runs

__all__ = ["pools", "registry", "runs"]
