-- The statements of the store directives on sqlite, at version 1.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_store_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version) ON CONFLICT IGNORE
);
CREATE TABLE IF NOT EXISTS threadlog_store (
    item_digest VARCHAR(32) NOT NULL,
    namespace_start BLOB NOT NULL,
    namespace TEXT NOT NULL,
    item_key TEXT NOT NULL,
    value JSON NOT NULL,
    created_at VARCHAR(32) NOT NULL,
    updated_at VARCHAR(32) NOT NULL,
    expires_at VARCHAR(32),
    ttl_seconds DOUBLE,
    vectors BLOB,
    PRIMARY KEY (item_digest)
);
CREATE INDEX ix_threadlog_store_namespace ON threadlog_store (namespace_start);
CREATE INDEX ix_threadlog_store_expires ON threadlog_store (expires_at);
DELETE FROM threadlog_store_version WHERE version >= 0;
INSERT INTO threadlog_store_version (version) VALUES (1);
DROP TABLE IF EXISTS threadlog_store_version;
DROP TABLE IF EXISTS threadlog_store;
