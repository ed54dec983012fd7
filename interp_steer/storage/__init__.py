"""Write files whole or not at all, and read them within bounds."""
