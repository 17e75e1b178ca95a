from .extrapolation import richardson_weights as richardson_weights
from .lane_scan import lane_scan as lane_scan
from .linalg import matvec as matvec
from .linalg import vecmat as vecmat
from .slopes import Slope as Slope
from .slopes import local_slopes as local_slopes
from .slopes import loglog_slope as loglog_slope
from .spectra import spectral_radius as spectral_radius
