"""Who did what, and proof that the log is as it was: `radstream audit`, and the notary."""
