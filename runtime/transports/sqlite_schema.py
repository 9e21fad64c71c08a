"""The published schema of the embedded store: one SQLite file that any SQLite client may read.

::

    settings     name, value              'max_bytes': the size limit of the file, 0 for none
    topics       id, name, partitions,    a compacted topic (snapshots) keeps the last value of each key in
                 compacted,               `compacted_records`; any other keeps every record in `records`
                 retention_ms,            until it is this old (by the time of the append), 0: for ever
                 retention_bytes          until keys and values of the topic come to this, 0: no matter how many
    partitions   topic, partition,        the offsets held are first_offset <= offset < next_offset
                 first_offset,
                 next_offset, bytes       bytes: keys, values and headers of the records held
    records      topic, partition,        timestamp: milliseconds since 1970, as given by the producer
                 offset, timestamp,       appended: milliseconds since 1970, when it was written here
                 appended, key, value,    headers: JSON [[name, base64 of the value], ...], or NULL
                 headers
    compacted_records                     as in `records`; one row a key
    groups       name, epoch, instance    epoch: raised by each daemon that opens the group; a commit
                                          under an older one is refused
    positions    group_name, topic,       offset: the next to read; metadata: the daemon's own
                 partition, offset,
                 metadata

``PRAGMA application_id`` is 0x65726E6E ("ernn") and ``PRAGMA user_version`` the schema's version, `VERSION`.
The journal is a WAL and every connection sets ``synchronous = FULL``: a commit that returned survives a power cut.
A reader elsewhere opens the file as usual; a writer elsewhere uses ``BEGIN IMMEDIATE``, takes
offsets from ``partitions.next_offset`` and raises it (and ``bytes``) in the same transaction.
"""

from __future__ import annotations

APPLICATION_ID = 0x65726E6E
VERSION = 1

TABLES = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE topics (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    partitions INTEGER NOT NULL CHECK (partitions > 0),
    compacted INTEGER NOT NULL DEFAULT 0,
    retention_ms INTEGER NOT NULL DEFAULT 0,
    retention_bytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE partitions (
    topic INTEGER NOT NULL REFERENCES topics (id),
    partition INTEGER NOT NULL,
    first_offset INTEGER NOT NULL DEFAULT 0,
    next_offset INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE records (
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    appended INTEGER NOT NULL,
    key BLOB,
    value BLOB,
    headers TEXT,
    PRIMARY KEY (topic, partition, offset)
) WITHOUT ROWID;
CREATE TABLE compacted_records (
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    appended INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    headers TEXT,
    PRIMARY KEY (topic, partition, key)
);
CREATE TABLE groups (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, instance TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (
    group_name TEXT NOT NULL,
    topic INTEGER NOT NULL REFERENCES topics (id),
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    PRIMARY KEY (group_name, topic, partition)
) WITHOUT ROWID;
"""

APPEND = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
REPLACE = "INSERT OR REPLACE INTO compacted_records VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
DELETE_KEY = "DELETE FROM compacted_records WHERE topic = ? AND partition = ? AND key = ?"
