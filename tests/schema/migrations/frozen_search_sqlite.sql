-- The statements of the search directives on sqlite, at version 1.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_search_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version) ON CONFLICT IGNORE
);
CREATE TABLE IF NOT EXISTS threadlog_search (
    id INTEGER NOT NULL,
    thread_id VARCHAR(255) NOT NULL,
    seq BIGINT NOT NULL,
    place INTEGER NOT NULL,
    kind VARCHAR(32) NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL,
    role VARCHAR(32),
    text TEXT,
    model VARCHAR(255),
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read_tokens BIGINT,
    cache_write_tokens BIGINT,
    cost DOUBLE,
    tool_name VARCHAR(255),
    PRIMARY KEY (id),
    CONSTRAINT uq_threadlog_search_place UNIQUE (thread_id, seq, place),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE
);
CREATE INDEX ix_threadlog_search_created ON threadlog_search (created_at);
CREATE INDEX ix_threadlog_search_model ON threadlog_search (model, created_at);
CREATE INDEX ix_threadlog_search_tool ON threadlog_search (tool_name, created_at);
CREATE VIRTUAL TABLE IF NOT EXISTS threadlog_search_words USING fts5(text, content='threadlog_search', content_rowid='id');
CREATE TRIGGER IF NOT EXISTS threadlog_search_words_insert AFTER INSERT ON threadlog_search BEGIN INSERT INTO threadlog_search_words (rowid, text) VALUES (new.id, new.text); END;
CREATE TRIGGER IF NOT EXISTS threadlog_search_words_delete AFTER DELETE ON threadlog_search BEGIN INSERT INTO threadlog_search_words (threadlog_search_words, rowid, text) VALUES ('delete', old.id, old.text); END;
INSERT INTO threadlog_search_words (threadlog_search_words) VALUES ('rebuild');
DELETE FROM threadlog_search_version WHERE version >= 0;
INSERT INTO threadlog_search_version (version) VALUES (1);
DROP TABLE IF EXISTS threadlog_search_words;
DROP TABLE IF EXISTS threadlog_search_version;
DROP TABLE IF EXISTS threadlog_search;
