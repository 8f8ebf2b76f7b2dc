"""Using a prior: one step, and samples of the prior itself. One file a sampler."""
