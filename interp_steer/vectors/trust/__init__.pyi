from .assessment import assess as assess
from .assessment import fit_with_reliability as fit_with_reliability
from .permutation import permutation_test as permutation_test
from .permutation import separation_test as separation_test
from .reliability import agreement as agreement
from .reliability import bootstrap_cosine as bootstrap_cosine
from .reliability import spearman_brown as spearman_brown
from .reliability import split_half as split_half
