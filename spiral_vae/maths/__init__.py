"""Mathematics that knows of nothing above it: Gaussians, noise around a mean, batches."""
