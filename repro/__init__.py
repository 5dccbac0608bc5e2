"""A machine-checkable reproduction of every number that the GCNet paper (Cao et al., 2019) prints."""

__version__ = "0.1.0"
