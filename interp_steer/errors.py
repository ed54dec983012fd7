"""Define the errors of interp_steer: each message shows the offending values and a fix."""


class InterpSteerError(ValueError):
    """Base of every error that interp_steer raises on purpose."""


class ModelError(InterpSteerError):
    """A checkpoint, tokenizer or prompt format that cannot be used as it is."""


class SiteError(InterpSteerError):
    """A component or layer that the model does not have."""


class ContrastError(InterpSteerError):
    """A contrast set that is empty, unpaired, or whose splits share queries or phrasings."""


class CaptureError(InterpSteerError):
    """Activations that cannot be read as asked: positions, sites or moments that do not fit."""


class VectorError(InterpSteerError):
    """A steering vector for another model, of another shape, or not finite."""


class BasisError(InterpSteerError):
    """A vector that was read from weights in another basis than the model's."""


class TransferError(InterpSteerError):
    """A map between two models that cannot be fitted, joined or used as asked."""


class InterventionError(InterpSteerError):
    """An intervention that cannot be applied or a canonical line that does not parse."""


class GenerationError(InterpSteerError):
    """Prompts or decoding options that cannot be generated from."""


class ScoringError(InterpSteerError):
    """An answer that cannot be scored: an unknown instruction or a missing argument."""


class RunError(InterpSteerError):
    """A results folder that is unwritable, half-written, or was made by something else."""


class OptionError(InterpSteerError):
    """An option of an analysis whose value is unknown, impossible, or too large for the data."""


class InterchangeError(InterpSteerError):
    """A file of another tool that cannot be read, or a vector that a format cannot hold."""


class HubError(InterpSteerError):
    """A vector that cannot be published on the Hugging Face Hub, or fetched from it."""


class InterchangeWarning(UserWarning):
    """A part of a vector that a format does not hold, so that it was left out."""


class StatisticsError(InterpSteerError):
    """Values that no interval or test can be made from: none, mismatched, or not finite."""


class FigureError(InterpSteerError):
    """Records that a figure cannot be drawn from: columns missing, or rows that do not fit."""
