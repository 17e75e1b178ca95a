from . import rr_richardson_vip as rr_richardson_vip
from . import seg_rr as seg_rr
