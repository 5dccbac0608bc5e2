"""Weights that this project did not train. Importing this much loads no torch."""

#: What translates state dicts of other frameworks, as records name it. Raise the number when a translation changes.
CONVERTER = "repro conversion 1"
#: The format of the `weights.pt` that a training here ends in.
OWN_FORMAT = "gcnet-repro"
