-- How a call is paid for: `metered`, `local` or `unmetered`. Only metered calls are in sums of money.
ALTER TABLE entry ADD COLUMN billing TEXT NOT NULL DEFAULT 'metered';
CREATE INDEX entry_beside ON entry (billing) WHERE billing <> 'metered';
