"""Weights that this project did not train. Importing this much loads no torch.

A file is refused in one of three places: `transfer` refuses a download with another hash than the published one,
`registry.CheckpointEntry.check` a copy that the user brought, and `weight_files.read` what is no file of weights alone.
"""

#: What translates state dicts of other frameworks, as records name it. Raise the number when a translation changes.
CONVERTER = "repro conversion 1"
#: Bytes of the largest file that is fetched or read. The largest of those that are listed has less than a quarter.
LIMIT = 4 << 30
#: The format of the `weights.pt` that a training here ends in.
OWN_FORMAT = "gcnet-repro"
