-- Functions and their revisions. A function is there exactly when one of its revisions was live once.
CREATE TABLE functions (
    key TEXT PRIMARY KEY,             -- name.namespace
    created_at REAL NOT NULL,         -- unix seconds
    live_revision TEXT NOT NULL,
    scaled_to INTEGER,                -- what the last scale call asked for, null when there was none
    scaled_at REAL                    -- unix seconds
);
CREATE TABLE revisions (
    id TEXT PRIMARY KEY,
    function TEXT NOT NULL,           -- name.namespace; the function may not be there yet
    number INTEGER NOT NULL,          -- 1, 2, ... within the function
    spec TEXT NOT NULL,               -- JSON of core.spec.FunctionSpec
    bundle TEXT NOT NULL,             -- JSON of core.revision.Bundle
    state TEXT NOT NULL,              -- proving, live, retired, failed
    slots INTEGER,                    -- of one replica, once known
    created_at REAL NOT NULL,
    failure TEXT,                     -- why it failed, a sentence
    UNIQUE (function, number)
);
CREATE INDEX revisions_by_state ON revisions (state);
