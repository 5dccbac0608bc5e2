"""Networks, built from the specifications in `repro.experiments`."""
