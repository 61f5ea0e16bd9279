"""Makes the built-in price book from two published lists, and the page that shows where they disagree."""
