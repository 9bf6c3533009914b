//! The tables, step by step, in SQLite's words; PostgreSQL's are made of them. Steps that were
//! released are never changed.

/// How a command locks a row, at the end of its SELECT.
pub(crate) const ROW_LOCK: &str = " FOR UPDATE";

/// Each takes the tables from the version of its index to the next.
pub(crate) const STEPS: &[&str] = &[
    "
    CREATE TABLE meta (
        key TEXT PRIMARY KEY NOT NULL,
        value BLOB NOT NULL
    ) STRICT;
    -- AUTOINCREMENT: an id that was once somebody's token is never another's.
    CREATE TABLE tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        verifier TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        revoked_at INTEGER,
        last_used_at INTEGER
    ) STRICT;
    CREATE INDEX tokens_of_name ON tokens (name) WHERE revoked_at IS NULL;
",
    "
    -- The newest head of each node's journal, so that a missing tail is missed.
    CREATE TABLE journal_heads (
        node TEXT PRIMARY KEY NOT NULL,
        number INTEGER NOT NULL,
        hash BLOB NOT NULL,
        note TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
",
    "
    -- The latest time at which anything was written: the store's clock never goes back.
    CREATE TABLE clock (
        one INTEGER PRIMARY KEY NOT NULL,
        now INTEGER NOT NULL
    ) STRICT;
    INSERT INTO clock (one, now) VALUES (1, 0);
    -- A row is locked while it is decided what becomes of what somebody asks.
    CREATE TABLE askers (
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (issuer, subject)
    ) STRICT;
    CREATE INDEX askers_by_age ON askers (at);
    CREATE TABLE requests (
        id TEXT PRIMARY KEY NOT NULL,
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        connection TEXT NOT NULL,
        -- What it asks for, hashed: policies and scope.
        opens TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        closed_at INTEGER,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX requests_of ON requests (issuer, subject, created_at);
    CREATE INDEX requests_by_age ON requests (created_at, id);
    CREATE INDEX requests_due ON requests (expires_at) WHERE state = 'pending';
    CREATE INDEX requests_closed ON requests (closed_at) WHERE closed_at IS NOT NULL;
    CREATE TABLE grants (
        id TEXT PRIMARY KEY NOT NULL,
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        connection TEXT NOT NULL,
        opens TEXT NOT NULL,
        state TEXT NOT NULL,
        opened_at INTEGER NOT NULL,
        ends_at INTEGER NOT NULL,
        closed_at INTEGER,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX grants_of ON grants (issuer, subject, connection, opened_at);
    CREATE INDEX grants_by_age ON grants (opened_at, id);
    CREATE INDEX grants_due ON grants (ends_at) WHERE state = 'open';
    CREATE INDEX grants_closed ON grants (closed_at) WHERE closed_at IS NOT NULL;
    CREATE TABLE holds (
        id TEXT PRIMARY KEY NOT NULL,
        grant_id TEXT NOT NULL,
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        connection TEXT NOT NULL,
        digest BLOB NOT NULL,
        shape BLOB,
        -- An approval of the shape has uses left until then.
        shape_until INTEGER,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        -- When it ends by itself; none while it runs and afterwards.
        until INTEGER,
        closed_at INTEGER,
        -- Of the gateway that claimed it.
        node TEXT,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX holds_of ON holds (grant_id, digest, created_at);
    CREATE INDEX holds_by_age ON holds (created_at, id);
    CREATE INDEX holds_due ON holds (until) WHERE until IS NOT NULL;
    CREATE INDEX holds_shapes ON holds (grant_id, shape) WHERE shape_until IS NOT NULL;
    CREATE INDEX holds_running ON holds (node) WHERE state = 'running';
    CREATE INDEX holds_closed ON holds (closed_at) WHERE closed_at IS NOT NULL;
    -- A gateway's right to go on.
    CREATE TABLE leases (
        node TEXT PRIMARY KEY NOT NULL,
        holder TEXT NOT NULL,
        until INTEGER NOT NULL
    ) STRICT;
    ALTER TABLE tokens ADD COLUMN grant_id TEXT;
    ALTER TABLE tokens ADD COLUMN single_use INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX tokens_of_grant ON tokens (grant_id) WHERE grant_id IS NOT NULL;
",
    "
    -- Answers of providers that count once, and what became of them.
    CREATE TABLE logins (
        answer BLOB PRIMARY KEY NOT NULL,
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        request TEXT NOT NULL,
        -- 'browser', 'program', 'token', 'spent': what the secret leads to, of which this is the hash.
        stage TEXT NOT NULL,
        secret BLOB,
        challenge TEXT,
        until INTEGER NOT NULL,
        -- The provider's own session, if it says so: no token outlives it.
        ends_at INTEGER,
        created_at INTEGER NOT NULL,
        forget_at INTEGER NOT NULL,
        identity TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX logins_of_secret ON logins (secret) WHERE secret IS NOT NULL;
    CREATE INDEX logins_of ON logins (issuer, subject, created_at);
    CREATE INDEX logins_by_age ON logins (forget_at);
",
    "
    -- What was done and is not in the journal of the node that did it yet.
    CREATE TABLE untold (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        node TEXT NOT NULL,
        record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX untold_of ON untold (node, number);
",
    "
    -- What has been used of limits by the hour, by the day and by the grant, each node its own.
    CREATE TABLE counts (
        node TEXT NOT NULL,
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        policy TEXT NOT NULL,
        grant_id TEXT NOT NULL,
        measure TEXT NOT NULL,
        period TEXT NOT NULL,
        taken TEXT NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (node, issuer, subject, policy, grant_id, measure, period)
    ) STRICT;
    CREATE INDEX counts_by_age ON counts (until);
",
];
