from .plots import legend as legend
from .plots import measured as measured
from .plots import panels as panels
from .plots import predicted as predicted
from .plots import slope_guide as slope_guide
from .style import COLOURS as COLOURS
from .style import style as style
