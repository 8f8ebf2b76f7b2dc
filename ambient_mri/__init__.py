"""Learn a diffusion prior from corrupted MRI scans only, and reconstruct new scans with it.

Submodules are imported by name (`from ambient_mri.measurement import Measurement`); importing the
package alone loads nothing heavy.
"""

__version__ = "0.1.0"
