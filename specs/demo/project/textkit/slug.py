"""Slugs: the part of a web address that names a page."""


def slugify(text: str, *, max_length: int | None = None) -> str:
    """Make a slug of `text`, at most `max_length` characters long."""
    return text.lower().replace(" ", "-")


def unique_slug(text: str, taken: set[str]) -> str:
    """Make a slug of `text` that is not in `taken`: the plain one, else the first free of -2, -3, ..."""
    return slugify(text)
