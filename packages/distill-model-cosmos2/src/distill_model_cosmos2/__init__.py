"""The Cosmos-Predict2 family for distill."""
