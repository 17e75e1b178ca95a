"""One run: lanes of one program, from where they start to where they stop."""
