-- Answered calls, as each run of a router reported them last: the sum over its runs is a function's count.
CREATE TABLE call_counts (
    function TEXT NOT NULL,           -- name.namespace
    router TEXT NOT NULL,
    epoch TEXT NOT NULL,              -- of the router's run; empty for all that ended long ago, together
    code INTEGER NOT NULL,            -- the HTTP status that the callers got
    calls INTEGER NOT NULL,
    PRIMARY KEY (function, router, epoch, code)
);
