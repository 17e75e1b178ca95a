"""What the fuzz knows: right answers that look like faults, and the faults that still stand."""

NO_CALL = {
    "diffusion.Mixture": "abstract",
    "diffusion.SharedMean": "abstract",
    "lowrank.Sensing": "abstract",
}
"""Public classes that nobody builds, and why."""

ALLOWED = {
    ("games.Constrained", "constraint", "missing"): "no constraint",
    ("games.claims.rr_richardson_vip.MseBound.after", "epochs", "fraction"): "the bound is a formula in real epochs",
    ("games.natural_residual", "x"): "x is any pytree that the user's operator takes",
    ("lowrank.lora.kernel_adapters", "kernel"): "its shape alone is used",
    ("lowrank.lorafy", "model"): "the user's own function `where` speaks first",
    ("lowrank.measured_contraction", "errors"): "what is not finite or too small is left out, as it says",
    ("lowrank.imbalance", "W1"): "any number of rows",
    ("lowrank.imbalance", "W2"): "any number of rows",
    ("lowrank.imbalance_certificate", "W1", "short 0"): "any number of rows",
    ("lowrank.imbalance_certificate", "W2", "short 0"): "any number of rows",
    ("lowrank.claims.two_layer_linear_gd.certificate", "W1", "short 0"): "any number of rows",
    ("lowrank.claims.two_layer_linear_gd.certificate", "W2", "short 0"): "any number of rows",
    ("lowrank.late_rate", "F", "short 0"): "any number of rows",
    ("lowrank.late_rate", "G", "short 0"): "any number of rows",
    ("lowrank.lora.adapter_invariant", "A", "short 1"): "any number of columns",
    ("lowrank.lora.adapter_invariant", "B", "short 0"): "any number of rows",
    ("lowrank.lora.adapter_invariant", "B", "empty 0"): "any number of rows",
    ("lowrank.lora.adapter_invariant", "A", "empty 1"): "any number of columns",
    ("lowrank.surplus_loss", "values", "short 0"): "any number of values",
    ("diffusion.level_risks", "x0", "rank+"): "data of any shape",
    ("diffusion.counter_normal", "shape", "empty 0"): "no numbers for an empty shape",
    ("diffusion.denoising_loss", "x0", "rank+"): "data of any shape",
    ("diffusion.denoising_loss", "x0", "short 0"): "data of any shape",
    ("diffusion.denoising_loss", "x0", "short 1"): "data of any shape",
    ("diffusion.level_risks", "x0", "short 0"): "data of any shape",
    ("diffusion.level_risks", "x0", "short 1"): "data of any shape",
    ("diffusion.diffuse", "t", "rank-"): "one level for all points",
    ("diffusion.frechet_distance", "x", "short 0"): "any number of points",
    ("diffusion.frechet_distance", "y", "short 0"): "any number of points",
    ("diffusion.mmd", "x", "short 0"): "any number of points",
    ("diffusion.mmd", "y", "short 0"): "any number of points",
    ("diffusion.mode_proportions", "x", "short 0"): "any number of points",
    ("diffusion.moment_errors", "x", "short 0"): "any number of points",
    ("diffusion.pattern_alignment", "patterns", "short 0"): "any number of patterns",
    ("lowrank.surplus_loss", "steps", "fraction"): "the law is a formula in real steps",
    ("lowrank.surplus_loss", "values", "inf"): "the limit of a large start",
    ("lowrank.surplus_loss", "values", "empty 0"): "no loss without surplus",
}
"""Names, arguments and perhaps kinds whose answer is right."""

NOT_YET: set[tuple[str, str, str]] = set()
"""Names, arguments and kinds of bad values that do not yet get a clear error. It may only shrink."""
