-- The statements of the directives on postgresql, from version 1 to 5 and back, then at version 5.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS cubepi_schema_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE IF NOT EXISTS cubepi_threads (
    thread_id TEXT COLLATE "C" NOT NULL,
    parent_thread_id TEXT COLLATE "C",
    forked_at_seq BIGINT,
    extra JSONB DEFAULT '{}'::jsonb NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id),
    FOREIGN KEY(parent_thread_id) REFERENCES cubepi_threads (thread_id)
);
CREATE TABLE IF NOT EXISTS cubepi_messages (
    thread_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    role TEXT NOT NULL,
    metadata JSONB DEFAULT '{}'::jsonb NOT NULL,
    payload BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id, seq),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE
)
 PARTITION BY HASH (thread_id);
DO $$ BEGIN FOR place IN 0..63 LOOP EXECUTE 'CREATE TABLE IF NOT EXISTS cubepi_messages_p' || to_char(place, 'FM00') || ' PARTITION OF cubepi_messages FOR VALUES WITH (modulus 64, remainder ' || place || ')'; END LOOP; END $$;
CREATE INDEX ix_cubepi_messages_metadata_gin ON cubepi_messages USING gin (metadata jsonb_path_ops);
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (1);
ALTER TABLE cubepi_threads ADD COLUMN pending_request JSONB;
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (2);
ALTER TABLE cubepi_threads ADD COLUMN run_id TEXT COLLATE "C";
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (3);
ALTER TABLE cubepi_messages ADD COLUMN run_id TEXT COLLATE "C";
CREATE TABLE IF NOT EXISTS cubepi_runs (
    thread_id TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    claimed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE,
    completion_seq BIGINT,
    PRIMARY KEY (thread_id, run_id),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE
)
 PARTITION BY HASH (thread_id);
DO $$ BEGIN FOR place IN 0..63 LOOP EXECUTE 'CREATE TABLE IF NOT EXISTS cubepi_runs_p' || to_char(place, 'FM00') || ' PARTITION OF cubepi_runs FOR VALUES WITH (modulus 64, remainder ' || place || ')'; END LOOP; END $$;
CREATE INDEX ix_cubepi_messages_thread_run ON cubepi_messages (thread_id, run_id);
CREATE INDEX ix_cubepi_runs_thread_seq ON cubepi_runs (thread_id, completion_seq);
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (4);
CREATE TABLE IF NOT EXISTS cubepi_hitl_answers (
    thread_id TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    question_id TEXT COLLATE "C" NOT NULL,
    answer JSONB NOT NULL,
    answered_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id, run_id, question_id),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE
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
    PRIMARY KEY (version)
);
CREATE TABLE IF NOT EXISTS cubepi_threads (
    thread_id TEXT COLLATE "C" NOT NULL,
    parent_thread_id TEXT COLLATE "C",
    forked_at_seq BIGINT,
    extra JSONB DEFAULT '{}'::jsonb NOT NULL,
    pending_request JSONB,
    run_id TEXT COLLATE "C",
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id),
    FOREIGN KEY(parent_thread_id) REFERENCES cubepi_threads (thread_id)
);
CREATE TABLE IF NOT EXISTS cubepi_messages (
    thread_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    role TEXT NOT NULL,
    metadata JSONB DEFAULT '{}'::jsonb NOT NULL,
    payload BYTEA NOT NULL,
    run_id TEXT COLLATE "C",
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id, seq),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE
)
 PARTITION BY HASH (thread_id);
DO $$ BEGIN FOR place IN 0..63 LOOP EXECUTE 'CREATE TABLE IF NOT EXISTS cubepi_messages_p' || to_char(place, 'FM00') || ' PARTITION OF cubepi_messages FOR VALUES WITH (modulus 64, remainder ' || place || ')'; END LOOP; END $$;
CREATE TABLE IF NOT EXISTS cubepi_runs (
    thread_id TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    claimed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE,
    completion_seq BIGINT,
    PRIMARY KEY (thread_id, run_id),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE
)
 PARTITION BY HASH (thread_id);
DO $$ BEGIN FOR place IN 0..63 LOOP EXECUTE 'CREATE TABLE IF NOT EXISTS cubepi_runs_p' || to_char(place, 'FM00') || ' PARTITION OF cubepi_runs FOR VALUES WITH (modulus 64, remainder ' || place || ')'; END LOOP; END $$;
CREATE TABLE IF NOT EXISTS cubepi_hitl_answers (
    thread_id TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    question_id TEXT COLLATE "C" NOT NULL,
    answer JSONB NOT NULL,
    answered_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    PRIMARY KEY (thread_id, run_id, question_id),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE
);
CREATE INDEX ix_cubepi_threads_recent ON cubepi_threads (updated_at, thread_id);
CREATE INDEX ix_cubepi_messages_thread_run ON cubepi_messages (thread_id, run_id);
CREATE INDEX ix_cubepi_runs_thread_seq ON cubepi_runs (thread_id, completion_seq);
CREATE INDEX ix_cubepi_messages_metadata_gin ON cubepi_messages USING gin (metadata jsonb_path_ops);
CREATE INDEX ix_cubepi_threads_parent ON cubepi_threads (parent_thread_id) WHERE parent_thread_id IS NOT NULL;
CREATE INDEX ix_cubepi_threads_waiting ON cubepi_threads (updated_at, thread_id) WHERE pending_request IS NOT NULL;
DELETE FROM cubepi_schema_version WHERE version >= 0;
INSERT INTO cubepi_schema_version (version) VALUES (5);
DROP TABLE IF EXISTS cubepi_schema_version;
DROP TABLE IF EXISTS cubepi_hitl_answers;
DROP TABLE IF EXISTS cubepi_runs;
DROP TABLE IF EXISTS cubepi_messages;
DROP TABLE IF EXISTS cubepi_threads;
