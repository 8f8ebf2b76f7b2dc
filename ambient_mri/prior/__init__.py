"""The prior h_θ: network, preconditioning, objective, training, and the bundle on disk."""
