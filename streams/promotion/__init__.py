"""Which model speaks: acts of persons on `radstream.models`, and the workers that follow them."""
