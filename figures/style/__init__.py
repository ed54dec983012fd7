"""Draw what all figures share: the theme, panels, interval dots and laid-out text."""
