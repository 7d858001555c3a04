-- The statements of the graph directives on mysql, at version 1.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_graph_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS threadlog_write_owners (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    token BIGINT NOT NULL,
    PRIMARY KEY (thread_id)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS threadlog_checkpoints (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    ns_digest CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    checkpoint_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    checkpoint_ns LONGTEXT COLLATE utf8mb4_bin NOT NULL,
    parent_checkpoint_id VARCHAR(255) COLLATE utf8mb4_bin,
    type VARCHAR(255) NOT NULL,
    checkpoint LONGBLOB NOT NULL,
    blob_keys JSON NOT NULL,
    metadata JSON NOT NULL,
    run_id VARCHAR(255) COLLATE utf8mb4_bin,
    created_at DATETIME(6) NOT NULL,
    PRIMARY KEY (thread_id, ns_digest, checkpoint_id)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS threadlog_checkpoint_blobs (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    ns_digest CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    blob_key CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    channel LONGTEXT COLLATE utf8mb4_bin NOT NULL,
    version LONGTEXT COLLATE utf8mb4_bin NOT NULL,
    type VARCHAR(255) NOT NULL,
    value LONGBLOB NOT NULL,
    PRIMARY KEY (thread_id, ns_digest, blob_key)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS threadlog_checkpoint_writes (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    ns_digest CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    checkpoint_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    task_id VARCHAR(128) COLLATE utf8mb4_bin NOT NULL,
    idx INTEGER NOT NULL,
    task_path LONGTEXT COLLATE utf8mb4_bin NOT NULL,
    channel LONGTEXT COLLATE utf8mb4_bin NOT NULL,
    type VARCHAR(255) NOT NULL,
    value LONGBLOB NOT NULL,
    PRIMARY KEY (thread_id, ns_digest, checkpoint_id, task_id, idx)
)ENGINE=InnoDB;
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
