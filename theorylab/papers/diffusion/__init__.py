"""Papers on diffusion models and the denoisers that they learn."""
