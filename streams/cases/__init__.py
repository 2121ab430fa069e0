"""A case as the log tells it: what was known of it at some moment (`radstream case ACCESSION --at TIME`)."""
