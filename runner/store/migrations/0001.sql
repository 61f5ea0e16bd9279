-- Journal, ledger, leases and inbox in one database, so that "append event" and "move money" commit together.
-- Money is integer nano-USD, time integer milliseconds since the epoch. Reads the same on SQLite and Postgres.
CREATE TABLE run (
  id TEXT PRIMARY KEY,
  spec_key TEXT NOT NULL,
  workspace TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  epoch BIGINT NOT NULL DEFAULT 0,
  owner TEXT NOT NULL DEFAULT '',
  head_seq BIGINT NOT NULL DEFAULT 0,
  head_hash TEXT NOT NULL,
  summary TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX run_by_spec ON run (spec_key, workspace, created_at);

CREATE TABLE run_scope (
  run TEXT NOT NULL REFERENCES run (id),
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (run, kind, name)
);
CREATE INDEX run_scope_by_name ON run_scope (kind, name);

CREATE TABLE event (
  run TEXT NOT NULL REFERENCES run (id),
  seq BIGINT NOT NULL,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  body TEXT NOT NULL,
  prev TEXT NOT NULL,
  hash TEXT NOT NULL,
  PRIMARY KEY (run, seq)
);

CREATE TABLE inbox (
  id INTEGER PRIMARY KEY,
  run TEXT NOT NULL REFERENCES run (id),
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  body TEXT NOT NULL,
  taken BIGINT
);
CREATE INDEX inbox_waiting ON inbox (run, taken);

-- what somebody set for a scope, for every bucket of the period
CREATE TABLE budget_limit (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  period TEXT NOT NULL,
  limit_nano BIGINT NOT NULL,
  zone TEXT NOT NULL DEFAULT 'UTC',
  set_at BIGINT NOT NULL,
  PRIMARY KEY (kind, name, period)
);

CREATE TABLE budget (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  period TEXT NOT NULL,
  bucket TEXT NOT NULL,
  limit_nano BIGINT,
  spent BIGINT NOT NULL DEFAULT 0,
  unknown BIGINT NOT NULL DEFAULT 0,
  held BIGINT NOT NULL DEFAULT 0,
  overrun BIGINT NOT NULL DEFAULT 0,
  UNIQUE (kind, name, period, bucket),
  CHECK (spent >= 0 AND unknown >= 0 AND held >= 0 AND overrun >= 0),
  CHECK (limit_nano IS NULL OR spent + unknown + held <= limit_nano + overrun)
);

-- one attempt at one call; `budgets` are the ids it was held on, as a JSON list: it keeps the bucket it was held in
CREATE TABLE entry (
  run TEXT NOT NULL REFERENCES run (id),
  call TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('dispatched', 'settled', 'unknown', 'released')),
  model TEXT NOT NULL,
  prices TEXT NOT NULL,
  hold BIGINT NOT NULL,
  cost BIGINT NOT NULL DEFAULT 0,
  budgets TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (run, call)
);
CREATE INDEX entry_by_time ON entry (at);
