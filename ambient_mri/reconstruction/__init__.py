"""From measurements to images: classical methods, posterior samples, files in batches. Truth never enters here."""
