from . import lora_gradient_flow as lora_gradient_flow
from . import opsa_robust_recovery as opsa_robust_recovery
from . import overparam_matrix_sensing as overparam_matrix_sensing
from . import two_layer_linear_gd as two_layer_linear_gd
