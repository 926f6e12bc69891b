PRAGMA user_version = 0;
CREATE TABLE triggers (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        workflow_id TEXT NOT NULL,
        dedupe_key TEXT NOT NULL,
        request TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        UNIQUE (workflow_id, dedupe_key)
      );
INSERT INTO triggers VALUES (1, 'good', 'event-1', '{"workflowId":"good","trigger":"listener:Recorder","params":{"who":"it''s me"},"dedupeKey":"event-1","scheduledTimeMs":null}', 1795314311230);
INSERT INTO sqlite_sequence VALUES ('triggers', 1);
