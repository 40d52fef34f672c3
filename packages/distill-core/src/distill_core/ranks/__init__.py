"""The processes of one run: which of them this one is, what they tell each other, and how all of them leave when one does."""
