"""Papers on games and variational inequalities."""
