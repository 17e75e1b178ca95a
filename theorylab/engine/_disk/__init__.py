"""What is kept: stores, the datasets that are read from them, and where a result comes from."""
