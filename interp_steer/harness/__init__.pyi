import pathlib

from .steered_lm import SteeredLM as SteeredLM
from .steering import make_intervention as make_intervention

TASKS: pathlib.Path
