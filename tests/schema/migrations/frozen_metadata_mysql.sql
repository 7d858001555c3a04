-- The statements of the graph directives on mysql, at version 1.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_metadata_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS app_threads (
    thread_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    state_updated_at DATETIME(6),
    metadata JSON NOT NULL,
    config JSON NOT NULL,
    status VARCHAR(32) COLLATE utf8mb4_bin NOT NULL,
    ttl JSON,
    PRIMARY KEY (thread_id)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS app_runs (
    run_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    thread_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    assistant_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    status VARCHAR(32) COLLATE utf8mb4_bin NOT NULL,
    metadata JSON NOT NULL,
    kwargs JSON NOT NULL,
    multitask_strategy VARCHAR(32) COLLATE utf8mb4_bin NOT NULL,
    error LONGTEXT COLLATE utf8mb4_bin,
    PRIMARY KEY (run_id),
    FOREIGN KEY(thread_id) REFERENCES app_threads (thread_id) ON DELETE CASCADE
)ENGINE=InnoDB;
CREATE INDEX idx_app_threads_updated_at ON app_threads (updated_at);
CREATE INDEX idx_app_threads_status_updated ON app_threads (status, updated_at);
CREATE INDEX idx_app_runs_thread_created ON app_runs (thread_id, created_at);
CREATE INDEX idx_app_runs_inflight_updated ON app_runs (status, updated_at);
DELETE FROM threadlog_metadata_version WHERE version >= 0;
INSERT INTO threadlog_metadata_version (version) VALUES (1);
DROP TABLE IF EXISTS threadlog_metadata_version;
DROP TABLE IF EXISTS app_runs;
DROP TABLE IF EXISTS app_threads;
