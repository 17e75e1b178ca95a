from .collocation import stationary_expectation as stationary_expectation
from .expansion import bias_expansion as bias_expansion
from .expansion import convergence_orders as convergence_orders
from .expansion import extragradient_bias as extragradient_bias
from .moments import Moments as Moments
from .moments import clt_covariance as clt_covariance
from .moments import stationary_error as stationary_error
from .moments import stationary_moments as stationary_moments
