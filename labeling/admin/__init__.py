"""The records of labeling in Django's admin; all writes go through the services."""

from labeling.admin import people, pools, records

__all__ = ["people", "pools", "records"]
