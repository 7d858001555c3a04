-- The statements of the store directives on postgresql, at version 1.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_store_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE IF NOT EXISTS threadlog_store (
    item_digest TEXT COLLATE "C" NOT NULL,
    namespace_start BYTEA NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    item_key TEXT COLLATE "C" NOT NULL,
    value JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    ttl_seconds DOUBLE PRECISION,
    vectors BYTEA,
    PRIMARY KEY (item_digest)
);
CREATE INDEX ix_threadlog_store_namespace ON threadlog_store (namespace_start);
CREATE INDEX ix_threadlog_store_expires ON threadlog_store (expires_at);
DELETE FROM threadlog_store_version WHERE version >= 0;
INSERT INTO threadlog_store_version (version) VALUES (1);
DROP TABLE IF EXISTS threadlog_store_version;
DROP TABLE IF EXISTS threadlog_store;
