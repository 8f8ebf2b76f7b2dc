"""From measurements to images: classical methods, evaluation beside them, and files in batches."""
