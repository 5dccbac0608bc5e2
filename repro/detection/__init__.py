"""Detectors: Mask R-CNN with FPN, assembled from a library's parts to the authors' conventions."""
