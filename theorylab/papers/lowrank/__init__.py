"""Papers on low-rank matrices and their factors."""
