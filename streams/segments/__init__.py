"""The log beside the broker: closed segments of topics in the object store."""
