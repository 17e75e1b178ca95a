"""Denoising diffusion: schedules, losses, models, samplers, and mixtures whose denoisers and risks are exact."""

from .._names import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
