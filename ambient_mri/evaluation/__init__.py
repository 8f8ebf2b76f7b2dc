"""EVALUATION ONLY: images beside the truth behind simulated scans, every strength tuned on validation patients."""
