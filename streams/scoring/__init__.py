"""What a model says of files, beside archive and log: `model score`, and `model evaluate` against labels."""
