from .claims import Result as Result
from .runs import Report as Report
from .runs import run as run
