"""Twelve methods as an outsider would write them: small, to show that the contract carries them, not to be trained with."""
