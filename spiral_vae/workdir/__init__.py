"""The folder of a run: files whole or not at all, sums, checkpoints, one writer."""
