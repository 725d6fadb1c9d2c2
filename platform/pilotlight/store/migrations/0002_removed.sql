-- Functions that were removed and of which something is still kept elsewhere: their logs.
CREATE TABLE removed (
    key TEXT PRIMARY KEY              -- name.namespace
);
