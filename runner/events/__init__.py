"""Facts of a run (`facts`), and how they are written and chained (`codec`)."""
