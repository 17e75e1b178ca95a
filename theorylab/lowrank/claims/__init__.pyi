from . import lora_gradient_flow as lora_gradient_flow
from . import two_layer_linear_gd as two_layer_linear_gd
