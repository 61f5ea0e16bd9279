-- `runner stop --all` leaves a row: no call leaves and no tool starts, of any run, until `runner allow-starts` lifts it.
-- Rows stay, as the record of who stopped everything and who let it go on.
CREATE TABLE halted (
    id        INTEGER PRIMARY KEY,
    at        BIGINT NOT NULL,
    "by"      TEXT NOT NULL,
    why       TEXT NOT NULL DEFAULT '',
    lifted    BIGINT,
    lifted_by TEXT NOT NULL DEFAULT ''
);
CREATE INDEX halted_now ON halted (id) WHERE lifted IS NULL;

-- One-time links: the transaction that leaves a vote in the inbox spends its link.
CREATE TABLE link (
    token    TEXT PRIMARY KEY,
    approval TEXT NOT NULL,
    run      TEXT NOT NULL,
    person   TEXT NOT NULL,
    used     BIGINT NOT NULL
);

-- What was told of an approval to whom, so that a server that is started again tells nobody twice.
CREATE TABLE told (
    run      TEXT NOT NULL,
    approval TEXT NOT NULL,
    what     TEXT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (run, approval, what)
);
