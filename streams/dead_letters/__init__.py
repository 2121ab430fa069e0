"""What no step could finish, and what people do about it: `radstream dead-letters`."""
