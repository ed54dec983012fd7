from .fitting import fit_on as fit_on
from .fitting import r_squared as r_squared
from .paired_activations import SharedTexts as SharedTexts
from .residual_map import Map as Map
