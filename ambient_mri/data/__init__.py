"""Data: specs, readers, splits, simulated scans, and the demo cohort."""
