-- The statements of the graph directives on sqlite, at version 1.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_graph_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version) ON CONFLICT IGNORE
);
CREATE TABLE IF NOT EXISTS threadlog_write_owners (
    thread_id VARCHAR(255) NOT NULL,
    token BIGINT NOT NULL,
    PRIMARY KEY (thread_id)
);
CREATE TABLE IF NOT EXISTS threadlog_checkpoints (
    thread_id VARCHAR(255) NOT NULL,
    ns_digest VARCHAR(32) NOT NULL,
    checkpoint_id VARCHAR(255) NOT NULL,
    checkpoint_ns TEXT NOT NULL,
    parent_checkpoint_id VARCHAR(255),
    type VARCHAR(255) NOT NULL,
    checkpoint BLOB NOT NULL,
    blob_keys JSON NOT NULL,
    metadata JSON NOT NULL,
    run_id VARCHAR(255),
    created_at VARCHAR(32) NOT NULL,
    PRIMARY KEY (thread_id, ns_digest, checkpoint_id)
);
CREATE TABLE IF NOT EXISTS threadlog_checkpoint_blobs (
    thread_id VARCHAR(255) NOT NULL,
    ns_digest VARCHAR(32) NOT NULL,
    blob_key VARCHAR(64) NOT NULL,
    channel TEXT NOT NULL,
    version TEXT NOT NULL,
    type VARCHAR(255) NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (thread_id, ns_digest, blob_key)
);
CREATE TABLE IF NOT EXISTS threadlog_checkpoint_writes (
    thread_id VARCHAR(255) NOT NULL,
    ns_digest VARCHAR(32) NOT NULL,
    checkpoint_id VARCHAR(255) NOT NULL,
    task_id VARCHAR(128) NOT NULL,
    idx INTEGER NOT NULL,
    task_path TEXT NOT NULL,
    channel TEXT NOT NULL,
    type VARCHAR(255) NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (thread_id, ns_digest, checkpoint_id, task_id, idx)
);
CREATE INDEX ix_threadlog_checkpoints_recent ON threadlog_checkpoints (checkpoint_id);
CREATE INDEX ix_threadlog_checkpoints_run ON threadlog_checkpoints (run_id);
CREATE INDEX ix_threadlog_checkpoints_created ON threadlog_checkpoints (created_at, thread_id);
DELETE FROM threadlog_graph_version WHERE version >= 0;
INSERT INTO threadlog_graph_version (version) VALUES (1);
DROP TABLE IF EXISTS threadlog_graph_version;
DROP TABLE IF EXISTS threadlog_checkpoint_writes;
DROP TABLE IF EXISTS threadlog_checkpoint_blobs;
DROP TABLE IF EXISTS threadlog_checkpoints;
DROP TABLE IF EXISTS threadlog_write_owners;
