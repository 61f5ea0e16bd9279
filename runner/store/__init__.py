"""Journal, ledger, leases and inbox in one SQLite database, and the recorder that writes them."""
