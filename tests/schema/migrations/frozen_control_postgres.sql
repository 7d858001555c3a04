-- The statements of the control directives on postgresql, at version 1.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_control_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE IF NOT EXISTS threadlog_owners (
    thread_id TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (thread_id),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS threadlog_leases (
    thread_id TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    token BIGINT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (thread_id, run_id),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS threadlog_append_keys (
    thread_id TEXT COLLATE "C" NOT NULL,
    append_key TEXT COLLATE "C" NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (thread_id, append_key),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS threadlog_truncations (
    thread_id TEXT COLLATE "C" NOT NULL,
    last_seq BIGINT NOT NULL,
    after_seq BIGINT NOT NULL,
    message_count BIGINT NOT NULL,
    run_id TEXT COLLATE "C",
    truncated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (thread_id, last_seq),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE
);
CREATE INDEX ix_threadlog_owners_owner ON threadlog_owners (owner, thread_id);
CREATE INDEX ix_threadlog_append_keys_created ON threadlog_append_keys (created_at);
DELETE FROM threadlog_control_version WHERE version >= 0;
INSERT INTO threadlog_control_version (version) VALUES (1);
DROP TABLE IF EXISTS threadlog_control_version;
DROP TABLE IF EXISTS threadlog_truncations;
DROP TABLE IF EXISTS threadlog_append_keys;
DROP TABLE IF EXISTS threadlog_leases;
DROP TABLE IF EXISTS threadlog_owners;
