r"""What the paper states of surplus rank with numbers: its rates of order $1/T^2$ and $\alpha^2$ have none."""


def contraction(step_size: float | int, scale: float | int) -> float:
    r"""State the factor by which a step of descent shrinks the residual after `rescaled_factors`: $1 - \eta\beta^2$.

    Whatever the scale of the start: every direction of G sees $F^TF = \beta^2 I$.

    **Arguments**: `step_size` $\eta > 0$; `scale` $\beta > 0$, that of the one step in between, with
    $\eta\beta^2 < 1$.

    **Returns** the factor, in (0, 1); that of the loss is its square.

    **Raises** `ValueError` for numbers out of range.

    **Source**: Xiong, Ding, Du (2024), arXiv 2310.01769, eq. 5.1 (reconstructed).

        >>> import theorylab as tl
        >>> tl.lowrank.claims.overparam_matrix_sensing.contraction(0.125, 2.0)
        0.5
    """
    decrease = float(step_size * scale**2)
    if not (step_size > 0 and scale > 0 and decrease < 1):
        raise ValueError(
            f"step_size = {step_size} and scale = {scale} must be positive, with step_size scale^2 = {decrease:.3g} "
            "below 1: larger steps do not shrink the residual so"
        )
    return 1 - decrease
