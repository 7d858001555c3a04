-- The statements of the search directives on mysql and mariadb, at version 1.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_search_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS threadlog_search (
    id BIGINT NOT NULL AUTO_INCREMENT,
    thread_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL,
    seq BIGINT NOT NULL,
    place INTEGER NOT NULL,
    kind VARCHAR(32) NOT NULL,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    `role` VARCHAR(32),
    text LONGTEXT COLLATE utf8mb4_unicode_ci,
    model VARCHAR(255) COLLATE utf8mb4_bin,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read_tokens BIGINT,
    cache_write_tokens BIGINT,
    cost DOUBLE,
    tool_name VARCHAR(255) COLLATE utf8mb4_bin,
    PRIMARY KEY (id),
    CONSTRAINT uq_threadlog_search_place UNIQUE (thread_id, seq, place),
    FOREIGN KEY(thread_id) REFERENCES cubepi_threads (thread_id) ON DELETE CASCADE,
    FULLTEXT KEY ix_threadlog_search_text (text)
)ENGINE=InnoDB;
CREATE INDEX ix_threadlog_search_created ON threadlog_search (created_at);
CREATE INDEX ix_threadlog_search_model ON threadlog_search (model, created_at);
CREATE INDEX ix_threadlog_search_tool ON threadlog_search (tool_name, created_at);
DELETE FROM threadlog_search_version WHERE version >= 0;
INSERT INTO threadlog_search_version (version) VALUES (1);
DROP TABLE IF EXISTS threadlog_search_version;
DROP TABLE IF EXISTS threadlog_search;
