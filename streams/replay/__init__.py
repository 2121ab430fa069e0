"""Ask the log what happened, and what would happen now: `radstream replay`."""
