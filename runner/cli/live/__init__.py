"""The live view: what happened scrolls by, what happens now stays at the bottom of the terminal."""
