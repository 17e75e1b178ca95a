"""What the fuzz knows: right answers that look like faults, and the faults that still stand."""

NO_CALL = {
    "diffusion.Mixture": "abstract",
    "diffusion.SharedMean": "abstract",
    "lowrank.LoraSolution": "a result",
    "lowrank.Sensing": "abstract",
    "lowrank.TwoLayerLoraSolution": "a result",
}
"""Public classes that nobody builds, and why."""

ALLOWED = {
    ("games.Constrained", "constraint", "missing"): "no constraint",
    ("games.bounds.MseBound.after", "epochs", "fraction"): "the bound is a formula in real epochs",
    ("games.step_sizes.known", "why"): "any sentence",
    ("games.natural_residual", "x"): "x is any pytree that the user's operator takes",
    ("lowrank.kernel_adapters", "kernel"): "its shape alone is used",
    ("lowrank.lorafy", "model"): "the user's own function `where` speaks first",
    ("lowrank.measured_contraction", "errors"): "what is not finite or too small is left out, as it says",
    ("lowrank.imbalance", "W1"): "any number of rows",
    ("lowrank.imbalance", "W2"): "any number of rows",
    ("lowrank.imbalance_certificate", "W1", "short 0"): "any number of rows",
    ("lowrank.imbalance_certificate", "W2", "short 0"): "any number of rows",
    ("lowrank.claimed_certificate", "W1", "short 0"): "any number of rows",
    ("lowrank.claimed_certificate", "W2", "short 0"): "any number of rows",
    ("lowrank.late_rate", "F", "short 0"): "any number of rows",
    ("lowrank.late_rate", "G", "short 0"): "any number of rows",
    ("lowrank.adapter_invariant", "A", "short 1"): "any number of columns",
    ("lowrank.adapter_invariant", "B", "short 0"): "any number of rows",
    ("lowrank.surplus_loss", "values", "short 0"): "any number of values",
    ("diffusion.level_risks", "x0", "rank+"): "data of any shape",
}
"""Names, arguments and perhaps kinds whose answer is right."""

NOT_YET: set[tuple[str, str, str]] = set()
"""Names, arguments and kinds of bad values that do not yet get a clear error. It may only shrink."""
