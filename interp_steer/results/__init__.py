"""Write the folder that a run leaves, and read it again."""
