"""The five programs of the pipeline; each imports `shared` and itself, never another."""
