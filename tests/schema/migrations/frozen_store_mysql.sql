-- The statements of the store directives on mysql and mariadb, at version 1.
-- Frozen: applications have run these statements. Add a newer version at the end, change nothing else.
CREATE TABLE IF NOT EXISTS threadlog_store_version (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
)ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS threadlog_store (
    item_digest CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    namespace_start VARBINARY(500) NOT NULL,
    namespace LONGTEXT COLLATE utf8mb4_bin NOT NULL,
    item_key LONGTEXT COLLATE utf8mb4_bin NOT NULL,
    value JSON NOT NULL,
    created_at DATETIME(6) NOT NULL,
    updated_at DATETIME(6) NOT NULL,
    expires_at DATETIME(6),
    ttl_seconds DOUBLE,
    vectors LONGBLOB,
    PRIMARY KEY (item_digest)
)ENGINE=InnoDB;
CREATE INDEX ix_threadlog_store_namespace ON threadlog_store (namespace_start);
CREATE INDEX ix_threadlog_store_expires ON threadlog_store (expires_at);
DELETE FROM threadlog_store_version WHERE version >= 0;
INSERT INTO threadlog_store_version (version) VALUES (1);
DROP TABLE IF EXISTS threadlog_store_version;
DROP TABLE IF EXISTS threadlog_store;
