"""A candidate on live traffic, in topics of its own, and how it compares with the model in use."""
