"""Images to files: one module a format. A file appears whole under its name, or not at all."""
