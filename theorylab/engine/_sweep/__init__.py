"""Many runs: what a sweep goes over, which of its lanes run together, and who runs them."""
