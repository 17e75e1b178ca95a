from .claims import Result as Result
from .claims import closing as closing
from .claims import table as table
from .doctor import examine as examine
from .runs import Report as Report
from .runs import run as run
