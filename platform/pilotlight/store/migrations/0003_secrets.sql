-- Secrets, namespaces and functions' keys. What is sealed was encrypted by control/sealing.py before it came here.
CREATE TABLE secrets (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,            -- another one with each new value
    sealed BLOB NOT NULL,
    size_bytes INTEGER NOT NULL,      -- of the value
    created_at REAL NOT NULL,         -- unix seconds, as all of these
    set_at REAL NOT NULL,
    PRIMARY KEY (namespace, name)
);
CREATE TABLE namespaces (
    name TEXT PRIMARY KEY,
    labels TEXT NOT NULL,             -- JSON
    annotations TEXT NOT NULL,        -- JSON
    created_at REAL NOT NULL
);
CREATE TABLE function_keys (
    digest TEXT PRIMARY KEY,          -- SHA-256 of the key, in hex
    function TEXT NOT NULL,           -- name.namespace
    sealed BLOB NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL                   -- null for the one that is shown; others are valid for a while after a rotation
);
CREATE INDEX function_keys_by_function ON function_keys (function);
-- The versions of the secrets that the revision was deployed with, by name.
ALTER TABLE revisions ADD COLUMN secrets TEXT NOT NULL DEFAULT '{}';
-- Namespaces were there by being used.
INSERT INTO namespaces
SELECT substr(key, instr(key, '.') + 1) AS name, '{"openfaas":"1"}', '{}', min(created_at) FROM functions GROUP BY name;
