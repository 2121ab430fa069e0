"""`radstream model serve`: the packages of this site for whoever may ask."""
