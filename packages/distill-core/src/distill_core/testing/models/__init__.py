"""The conformance kit for model families; :func:`distill_core.testing.contracts.check_model` is its door."""
