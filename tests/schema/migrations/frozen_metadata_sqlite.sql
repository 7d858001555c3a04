-- The statements of the graph directives on sqlite, at version 1.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_metadata_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version) ON CONFLICT IGNORE
);
CREATE TABLE IF NOT EXISTS app_threads (
    thread_id VARCHAR(36) NOT NULL,
    created_at VARCHAR(32) NOT NULL,
    updated_at VARCHAR(32) NOT NULL,
    state_updated_at VARCHAR(32),
    metadata JSON NOT NULL,
    config JSON NOT NULL,
    status VARCHAR(32) NOT NULL,
    ttl JSON,
    PRIMARY KEY (thread_id)
);
CREATE TABLE IF NOT EXISTS app_runs (
    run_id VARCHAR(36) NOT NULL,
    thread_id VARCHAR(36) NOT NULL,
    assistant_id VARCHAR(255) NOT NULL,
    created_at VARCHAR(32) NOT NULL,
    updated_at VARCHAR(32) NOT NULL,
    status VARCHAR(32) NOT NULL,
    metadata JSON NOT NULL,
    kwargs JSON NOT NULL,
    multitask_strategy VARCHAR(32) NOT NULL,
    error TEXT,
    PRIMARY KEY (run_id),
    FOREIGN KEY(thread_id) REFERENCES app_threads (thread_id) ON DELETE CASCADE
);
CREATE INDEX idx_app_threads_updated_at ON app_threads (updated_at);
CREATE INDEX idx_app_threads_status_updated ON app_threads (status, updated_at);
CREATE INDEX idx_app_runs_thread_created ON app_runs (thread_id, created_at);
CREATE INDEX idx_app_runs_inflight_updated ON app_runs (status, updated_at);
DELETE FROM threadlog_metadata_version WHERE version >= 0;
INSERT INTO threadlog_metadata_version (version) VALUES (1);
DROP TABLE IF EXISTS threadlog_metadata_version;
DROP TABLE IF EXISTS app_runs;
DROP TABLE IF EXISTS app_threads;
