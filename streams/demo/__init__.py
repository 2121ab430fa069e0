"""`radstream demo`: the main job, once, on real parts and a real radiograph."""
