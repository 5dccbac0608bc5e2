"""Detectors: Mask R-CNN with FPN and its cascade, from a library's parts, to the authors' or other conventions."""
