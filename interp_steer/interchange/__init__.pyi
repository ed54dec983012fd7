from .formats import Format as Format
from .registry import FORMATS as FORMATS
from .registry import read as read
from .registry import table as table
from .registry import write as write
