-- The statements of the directives on mysql, from version 1 to 5 and back, then at version 5.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS cubepi_schema_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS cubepi_threads (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    parent_thread_id VARCHAR(255) COLLATE utf8mb4_bin,
    forked_at_seq BIGINT,
    extra JSON NOT NULL DEFAULT (JSON_OBJECT()),
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    PRIMARY KEY (thread_id),
    FOREIGN KEY(parent_thread_id) REFERENCES cubepi_threads (thread_id)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS cubepi_messages (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    seq BIGINT NOT NULL,
    role VARCHAR(32) NOT NULL,
    metadata JSON NOT NULL DEFAULT (JSON_OBJECT()),
    payload LONGBLOB NOT NULL,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (thread_id, seq)
)ENGINE=InnoDB PARTITION BY KEY (thread_id) PARTITIONS 64;
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (1);
ALTER TABLE cubepi_threads ADD COLUMN pending_request JSON;
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (2);
ALTER TABLE cubepi_threads ADD COLUMN run_id VARCHAR(255) COLLATE utf8mb4_bin;
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (3);
ALTER TABLE cubepi_messages ADD COLUMN run_id VARCHAR(255) COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS cubepi_runs (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    run_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    claimed_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    completed_at TIMESTAMP NULL,
    completion_seq BIGINT,
    PRIMARY KEY (thread_id, run_id)
)ENGINE=InnoDB PARTITION BY KEY (thread_id) PARTITIONS 64;
CREATE INDEX ix_cubepi_messages_thread_run ON cubepi_messages (thread_id, run_id);
CREATE INDEX ix_cubepi_runs_thread_seq ON cubepi_runs (thread_id, completion_seq);
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (4);
CREATE TABLE IF NOT EXISTS cubepi_hitl_answers (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    run_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    question_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    answer JSON NOT NULL,
    answered_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (thread_id, run_id, question_id)
)ENGINE=InnoDB;
CREATE INDEX ix_cubepi_threads_recent ON cubepi_threads (updated_at, thread_id);
CREATE INDEX ix_cubepi_threads_waiting ON cubepi_threads (/*!80013 (pending_request IS NOT NULL) */ /*M!100000 pending_request(1) */);
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (5);
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (4);
DROP INDEX ix_cubepi_threads_waiting ON cubepi_threads;
DROP INDEX ix_cubepi_threads_recent ON cubepi_threads;
DROP TABLE IF EXISTS cubepi_hitl_answers;
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (3);
DROP INDEX ix_cubepi_messages_thread_run ON cubepi_messages;
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
    PRIMARY KEY (version)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS cubepi_threads (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    parent_thread_id VARCHAR(255) COLLATE utf8mb4_bin,
    forked_at_seq BIGINT,
    extra JSON NOT NULL DEFAULT (JSON_OBJECT()),
    pending_request JSON,
    run_id VARCHAR(255) COLLATE utf8mb4_bin,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    PRIMARY KEY (thread_id),
    FOREIGN KEY(parent_thread_id) REFERENCES cubepi_threads (thread_id)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS cubepi_messages (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    seq BIGINT NOT NULL,
    role VARCHAR(32) NOT NULL,
    metadata JSON NOT NULL DEFAULT (JSON_OBJECT()),
    payload LONGBLOB NOT NULL,
    run_id VARCHAR(255) COLLATE utf8mb4_bin,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (thread_id, seq)
)ENGINE=InnoDB PARTITION BY KEY (thread_id) PARTITIONS 64;
CREATE TABLE IF NOT EXISTS cubepi_runs (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    run_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    claimed_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    completed_at TIMESTAMP NULL,
    completion_seq BIGINT,
    PRIMARY KEY (thread_id, run_id)
)ENGINE=InnoDB PARTITION BY KEY (thread_id) PARTITIONS 64;
CREATE TABLE IF NOT EXISTS cubepi_hitl_answers (
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    run_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    question_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    answer JSON NOT NULL,
    answered_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (thread_id, run_id, question_id)
)ENGINE=InnoDB;
CREATE INDEX ix_cubepi_threads_recent ON cubepi_threads (updated_at, thread_id);
CREATE INDEX ix_cubepi_messages_thread_run ON cubepi_messages (thread_id, run_id);
CREATE INDEX ix_cubepi_runs_thread_seq ON cubepi_runs (thread_id, completion_seq);
CREATE INDEX ix_cubepi_threads_waiting ON cubepi_threads (/*!80013 (pending_request IS NOT NULL) */ /*M!100000 pending_request(1) */);
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (5);
DROP TABLE IF EXISTS cubepi_schema_version;
DROP TABLE IF EXISTS cubepi_hitl_answers;
DROP TABLE IF EXISTS cubepi_runs;
DROP TABLE IF EXISTS cubepi_messages;
DROP TABLE IF EXISTS cubepi_threads;
