"""Laws of sampling: which pixels or k-space samples a scan measures, and with what probability.

A unit is what is measured or missed as a whole: a pixel, a k-space point, or a phase-encode line
(the last axis; line masks have shape `(1, x)`). Every law states its inclusion probabilities
P(A_j = 1), can be thinned (D, the further corruption), and states P(A_j = 1 | Ã): what inverse
probability weights and the identifiability check are made of.
"""

from ambient_mri.patterns.blocks import Blocks
from ambient_mri.patterns.law import FullySampled, Pattern, Shape, units
from ambient_mri.patterns.lines import EmpiricalLines, EquispacedLines, GaussianLines, RandomLines
from ambient_mri.patterns.pixels import Pixels
from ambient_mri.patterns.points import PoissonDisc, RandomPoints

__all__ = [
    "Blocks",
    "EmpiricalLines",
    "EquispacedLines",
    "FullySampled",
    "GaussianLines",
    "Pattern",
    "Pixels",
    "PoissonDisc",
    "RandomLines",
    "RandomPoints",
    "Shape",
    "units",
]
