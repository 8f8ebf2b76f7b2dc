"""Linear operators between images `(b, 1, y, x)` and measurements `(b, c, y, x)`.

Every acquisition here is A = M E, a mask M on measurement space after an encoding E. For pixels,
one coil and coils with Σ|S|² = 1 the encoding is an isometry (EᴴE = I), so one formula serves all.
Operators are immutable; masks use `where`, so that NaN in unmeasured samples cannot leak.
"""

from ambient_mri.operators.encodings import PIECE, Coils, Fourier, Gaussian, Identity, Sense, pieces
from ambient_mri.operators.linear import Compose, Encoding, LinearOperator, keep
from ambient_mri.operators.masked import Mask, Masked
from ambient_mri.operators.sigpy_bridge import SigpyEncoding, from_sigpy, to_sigpy

__all__ = [
    "PIECE",
    "Coils",
    "Compose",
    "Encoding",
    "Fourier",
    "Gaussian",
    "Identity",
    "LinearOperator",
    "Mask",
    "Masked",
    "Sense",
    "SigpyEncoding",
    "from_sigpy",
    "keep",
    "pieces",
    "to_sigpy",
]
