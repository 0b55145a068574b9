"""How rows and keys are written as bytes."""
