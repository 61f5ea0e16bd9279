"""One iteration's conversation: the words it starts with, and what is sent next."""
