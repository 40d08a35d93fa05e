"""The records of labeling in Django's admin; all writes go through the services."""

from labeling.admin import demonstrations, people, pools, records

__all__ = ["demonstrations", "people", "pools", "records"]
