"""The records of labeling in Django's admin: one module a family, writes through the services alone."""

from labeling.admin import people, pools, records

__all__ = ["people", "pools", "records"]
