"""Images to files: one module a format. A file appears whole under its name, or not at all."""

from ambient_mri.files import replacing

__all__ = ["replacing"]
