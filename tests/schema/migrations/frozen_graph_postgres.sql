-- The statements of the graph directives on postgresql.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_graph_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE IF NOT EXISTS threadlog_write_owners (
    thread_id TEXT COLLATE "C" NOT NULL,
    token BIGINT NOT NULL,
    PRIMARY KEY (thread_id)
);
CREATE TABLE IF NOT EXISTS threadlog_checkpoints (
    thread_id TEXT COLLATE "C" NOT NULL,
    ns_digest TEXT COLLATE "C" NOT NULL,
    checkpoint_id TEXT COLLATE "C" NOT NULL,
    checkpoint_ns TEXT COLLATE "C" NOT NULL,
    parent_checkpoint_id TEXT COLLATE "C",
    type VARCHAR(255) NOT NULL,
    checkpoint BYTEA NOT NULL,
    blob_keys JSONB NOT NULL,
    metadata JSONB NOT NULL,
    run_id TEXT COLLATE "C",
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (thread_id, ns_digest, checkpoint_id)
);
CREATE TABLE IF NOT EXISTS threadlog_checkpoint_blobs (
    thread_id TEXT COLLATE "C" NOT NULL,
    ns_digest TEXT COLLATE "C" NOT NULL,
    blob_key TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    type VARCHAR(255) NOT NULL,
    value BYTEA NOT NULL,
    PRIMARY KEY (thread_id, ns_digest, blob_key)
);
CREATE TABLE IF NOT EXISTS threadlog_checkpoint_writes (
    thread_id TEXT COLLATE "C" NOT NULL,
    ns_digest TEXT COLLATE "C" NOT NULL,
    checkpoint_id TEXT COLLATE "C" NOT NULL,
    task_id TEXT COLLATE "C" NOT NULL,
    idx INTEGER NOT NULL,
    task_path TEXT COLLATE "C" NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    type VARCHAR(255) NOT NULL,
    value BYTEA NOT NULL,
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
