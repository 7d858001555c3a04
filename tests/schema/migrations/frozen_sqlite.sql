-- The statements of the directives on sqlite, from version 1 to 5 and back, then at version 5.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS cubepi_schema_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version) ON CONFLICT IGNORE
);
CREATE TABLE IF NOT EXISTS cubepi_threads (
    thread_id VARCHAR(255) NOT NULL,
    parent_thread_id VARCHAR(255),
    forked_at_seq BIGINT,
    extra JSON DEFAULT (JSON_OBJECT()) NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id),
    FOREIGN KEY(parent_thread_id) REFERENCES cubepi_threads (thread_id)
);
CREATE TABLE IF NOT EXISTS cubepi_messages (
    thread_id VARCHAR(255) NOT NULL,
    seq BIGINT NOT NULL,
    role VARCHAR(32) NOT NULL,
    metadata JSON DEFAULT (JSON_OBJECT()) NOT NULL,
    payload BLOB NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id, seq)
);
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (1);
ALTER TABLE cubepi_threads ADD COLUMN pending_request JSON;
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (2);
ALTER TABLE cubepi_threads ADD COLUMN run_id VARCHAR(255);
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (3);
ALTER TABLE cubepi_messages ADD COLUMN run_id VARCHAR(255);
CREATE TABLE IF NOT EXISTS cubepi_runs (
    thread_id VARCHAR(255) NOT NULL,
    run_id VARCHAR(255) NOT NULL,
    claimed_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
    completed_at TIMESTAMP,
    completion_seq BIGINT,
    PRIMARY KEY (thread_id, run_id)
);
CREATE INDEX ix_cubepi_messages_thread_run ON cubepi_messages (thread_id, run_id);
CREATE INDEX ix_cubepi_runs_thread_seq ON cubepi_runs (thread_id, completion_seq);
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (4);
CREATE TABLE IF NOT EXISTS cubepi_hitl_answers (
    thread_id VARCHAR(255) NOT NULL,
    run_id VARCHAR(255) NOT NULL,
    question_id VARCHAR(255) NOT NULL,
    answer JSON NOT NULL,
    answered_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id, run_id, question_id)
);
CREATE INDEX ix_cubepi_threads_recent ON cubepi_threads (updated_at, thread_id);
CREATE INDEX ix_cubepi_threads_parent ON cubepi_threads (parent_thread_id) WHERE parent_thread_id IS NOT NULL;
CREATE INDEX ix_cubepi_threads_waiting ON cubepi_threads (updated_at, thread_id) WHERE pending_request IS NOT NULL;
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (5);
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (4);
DROP INDEX ix_cubepi_threads_waiting;
DROP INDEX ix_cubepi_threads_parent;
DROP INDEX ix_cubepi_threads_recent;
DROP TABLE IF EXISTS cubepi_hitl_answers;
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (3);
DROP INDEX ix_cubepi_messages_thread_run;
DROP TABLE IF EXISTS cubepi_runs;
ALTER TABLE cubepi_messages DROP COLUMN run_id;
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (1);
ALTER TABLE cubepi_threads DROP COLUMN run_id;
ALTER TABLE cubepi_threads DROP COLUMN pending_request;
DROP TABLE IF EXISTS cubepi_schema_version;
DROP TABLE IF EXISTS cubepi_messages;
DROP TABLE IF EXISTS cubepi_threads;
CREATE TABLE IF NOT EXISTS cubepi_schema_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version) ON CONFLICT IGNORE
);
CREATE TABLE IF NOT EXISTS cubepi_threads (
    thread_id VARCHAR(255) NOT NULL,
    parent_thread_id VARCHAR(255),
    forked_at_seq BIGINT,
    extra JSON DEFAULT (JSON_OBJECT()) NOT NULL,
    pending_request JSON,
    run_id VARCHAR(255),
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id),
    FOREIGN KEY(parent_thread_id) REFERENCES cubepi_threads (thread_id)
);
CREATE TABLE IF NOT EXISTS cubepi_messages (
    thread_id VARCHAR(255) NOT NULL,
    seq BIGINT NOT NULL,
    role VARCHAR(32) NOT NULL,
    metadata JSON DEFAULT (JSON_OBJECT()) NOT NULL,
    payload BLOB NOT NULL,
    run_id VARCHAR(255),
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id, seq)
);
CREATE TABLE IF NOT EXISTS cubepi_runs (
    thread_id VARCHAR(255) NOT NULL,
    run_id VARCHAR(255) NOT NULL,
    claimed_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
    completed_at TIMESTAMP,
    completion_seq BIGINT,
    PRIMARY KEY (thread_id, run_id)
);
CREATE TABLE IF NOT EXISTS cubepi_hitl_answers (
    thread_id VARCHAR(255) NOT NULL,
    run_id VARCHAR(255) NOT NULL,
    question_id VARCHAR(255) NOT NULL,
    answer JSON NOT NULL,
    answered_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id, run_id, question_id)
);
CREATE INDEX ix_cubepi_threads_recent ON cubepi_threads (updated_at, thread_id);
CREATE INDEX ix_cubepi_messages_thread_run ON cubepi_messages (thread_id, run_id);
CREATE INDEX ix_cubepi_runs_thread_seq ON cubepi_runs (thread_id, completion_seq);
CREATE INDEX ix_cubepi_threads_parent ON cubepi_threads (parent_thread_id) WHERE parent_thread_id IS NOT NULL;
CREATE INDEX ix_cubepi_threads_waiting ON cubepi_threads (updated_at, thread_id) WHERE pending_request IS NOT NULL;
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (5);
DROP TABLE IF EXISTS cubepi_schema_version;
DROP TABLE IF EXISTS cubepi_hitl_answers;
DROP TABLE IF EXISTS cubepi_runs;
DROP TABLE IF EXISTS cubepi_messages;
DROP TABLE IF EXISTS cubepi_threads;
