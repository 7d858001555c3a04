-- The statements of the graph directives on postgresql.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_metadata_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE IF NOT EXISTS app_threads (
    thread_id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    state_updated_at TIMESTAMP WITH TIME ZONE,
    metadata JSONB NOT NULL,
    config JSONB NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    ttl JSONB,
    PRIMARY KEY (thread_id)
);
CREATE TABLE IF NOT EXISTS app_runs (
    run_id UUID NOT NULL,
    thread_id UUID NOT NULL,
    assistant_id TEXT COLLATE "C" NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    metadata JSONB NOT NULL,
    kwargs JSONB NOT NULL,
    multitask_strategy TEXT COLLATE "C" NOT NULL,
    error TEXT COLLATE "C",
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
