from .fitting import fit_map as fit_map
from .fitting import fit_map_on as fit_map_on
from .fitting import map_vector as map_vector
from .fitting import r_squared as r_squared
from .paired_activations import SharedTexts as SharedTexts
from .paired_activations import capture_pairs as capture_pairs
from .residual_map import ResidualMap as ResidualMap
