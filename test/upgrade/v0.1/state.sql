PRAGMA user_version = 1;
CREATE TABLE runs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        workflow_instance_id TEXT NOT NULL UNIQUE,
        workflow_id TEXT NOT NULL,
        workflow_name TEXT NOT NULL,
        definition_hash TEXT NOT NULL,
        params TEXT NOT NULL,
        trigger TEXT NOT NULL,
        scheduled_time_ms INTEGER,
        retry_of TEXT,
        created_at_ms INTEGER NOT NULL,
        status TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        crashed_attempts INTEGER NOT NULL,
        queued INTEGER NOT NULL,
        agent_id TEXT,
        cancel_requested_at_ms INTEGER,
        tasks_total INTEGER NOT NULL,
        tasks_done INTEGER NOT NULL,
        started_at_ms INTEGER,
        finished_at_ms INTEGER,
        status_at_ms INTEGER NOT NULL,
        error TEXT,
        log_stream_id TEXT,
        log_seq INTEGER NOT NULL,
        last_outbox_id INTEGER NOT NULL DEFAULT 0
      ) STRICT;
CREATE TABLE definitions (hash TEXT PRIMARY KEY, definition TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE attempts (
        workflow_instance_id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        agent_id TEXT NOT NULL,
        session_id TEXT,
        fetch_id TEXT,
        assigned_at_ms INTEGER NOT NULL,
        lease TEXT NOT NULL,
        status TEXT NOT NULL,
        started_at_ms INTEGER,
        finished_at_ms INTEGER,
        error TEXT,
        PRIMARY KEY (workflow_instance_id, attempt)
      ) STRICT, WITHOUT ROWID;
CREATE TABLE task_runs (
        seq INTEGER PRIMARY KEY,
        workflow_instance_id TEXT NOT NULL,
        task_instance_id TEXT NOT NULL,
        task_id TEXT NOT NULL,
        task_name TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        task_attempt INTEGER NOT NULL,
        status TEXT NOT NULL,
        exit_code INTEGER,
        signal TEXT,
        error TEXT,
        cpu_ms REAL,
        max_rss_kb REAL,
        started_at_ms INTEGER,
        finished_at_ms INTEGER,
        status_at_ms INTEGER NOT NULL,
        UNIQUE (workflow_instance_id, task_instance_id)
      ) STRICT;
CREATE TABLE agents (
        agent_id TEXT PRIMARY KEY,
        session_id TEXT,
        stream_id TEXT,
        host TEXT NOT NULL,
        pid INTEGER,
        version TEXT NOT NULL,
        max_concurrent_workflows INTEGER NOT NULL,
        labels TEXT NOT NULL,
        status TEXT NOT NULL,
        registered_at_ms INTEGER NOT NULL,
        last_heartbeat_ms INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
CREATE TABLE agent_streams (
        stream_id TEXT PRIMARY KEY,
        agent_id TEXT NOT NULL,
        report_seq INTEGER NOT NULL,
        updated_at_ms INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
CREATE TABLE dedupe_keys (
        key TEXT PRIMARY KEY,
        workflow_instance_id TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
CREATE TABLE schedule_cursors (
        workflow_id TEXT PRIMARY KEY,
        schedule TEXT NOT NULL,
        cursor_ms INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
CREATE TABLE workflow_versions (
        workflow_id TEXT PRIMARY KEY,
        path TEXT NOT NULL,
        definition TEXT NOT NULL,
        source TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;
CREATE TABLE recent_statuses (
        workflow_id TEXT PRIMARY KEY,
        workflow_instance_id TEXT NOT NULL,
        status TEXT NOT NULL,
        timestamp_ms INTEGER NOT NULL,
        position INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
CREATE TABLE status_outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        target TEXT NOT NULL,
        row TEXT NOT NULL
      ) STRICT;
CREATE INDEX runs_queue ON runs (seq) WHERE queued = 1;
CREATE INDEX runs_open ON runs (status, seq) WHERE finished_at_ms IS NULL;
CREATE INDEX runs_over ON runs (seq) WHERE finished_at_ms IS NOT NULL;
CREATE INDEX runs_by_workflow ON runs (workflow_id, seq);
CREATE INDEX runs_by_status ON runs (status, seq);
CREATE INDEX runs_by_definition ON runs (definition_hash);
CREATE INDEX attempts_open ON attempts (agent_id) WHERE lease IN ('OFFERED', 'HELD');
CREATE INDEX dedupe_keys_by_age ON dedupe_keys (created_at_ms);
CREATE INDEX recent_statuses_by_position ON recent_statuses (position);
INSERT INTO runs VALUES (1, '69b45be9-8574-4e8e-8b17-5bf736dbc29f', 'good', 'test', '66012948b7bb28d3770340fff3c00beb4c7699602276d23f62934708dd9e8ebf', '{}', 'cli', NULL, NULL, 1795314310357, 'COMPLETED', 1, 0, 0, 'worker-agent-1', NULL, 2, 2, 1795314310382, 1795314310402, 1795314310402, NULL, 'a0c7f983-8eda-4696-81be-4ad803878e11', 2, 1795314309565007);
INSERT INTO runs VALUES (2, '6a0adbab-e2a2-4b16-82ea-45f4c2b5682e', 'bad', 'test', '94f2f7e9f85d9b1aa1494f3bd67c50172a7d62fbea5ee9a5c3e28e816f076ee0', '{}', 'cli', NULL, NULL, 1795314310526, 'FAILED', 1, 0, 0, 'worker-agent-1', NULL, 1, 1, 1795314310536, 1795314310560, 1795314310560, 'failed: only', 'a0c7f983-8eda-4696-81be-4ad803878e11', 3, 1795314309565012);
INSERT INTO runs VALUES (3, 'f5f5fc85-5c7a-470d-b3d2-a26725cab8a9', 'gated', 'test', '778b0a64d10a58ce4b93787592666576a850bf0c6c999e40aa79c78888ed1a2b', '{}', 'cli', NULL, NULL, 1795314310670, 'RUNNING', 1, 0, 0, 'worker-agent-1', NULL, 1, 0, 1795314310683, NULL, 1795314310683, NULL, NULL, 0, 1795314309565015);
INSERT INTO runs VALUES (4, 'c95e1759-52a1-4862-bb3d-d6af091a3cc4', 'slow', 'test', '8f03a26f3d5ea00fcbb95db9229fb214e06427b0ae05856364ce14857413e0e2', '{}', 'cli', NULL, NULL, 1795314310765, 'RUNNING', 1, 0, 0, 'worker-agent-1', NULL, 1, 0, 1795314310767, NULL, 1795314310767, NULL, NULL, 0, 1795314309565018);
INSERT INTO runs VALUES (5, 'c2611724-5f16-4461-96a5-378e0b27cf49', 'good', 'test', '66012948b7bb28d3770340fff3c00beb4c7699602276d23f62934708dd9e8ebf', '{}', 'cli', NULL, NULL, 1795314310849, 'PENDING', 1, 0, 1, NULL, NULL, 2, 0, NULL, NULL, 1795314310849, NULL, NULL, 0, 1795314309565019);
INSERT INTO sqlite_sequence VALUES ('status_outbox', 1795314309565019);
INSERT INTO sqlite_sequence VALUES ('runs', 5);
INSERT INTO definitions VALUES ('66012948b7bb28d3770340fff3c00beb4c7699602276d23f62934708dd9e8ebf', '{"id":"good","name":"test","description":null,"cron":null,"timezone":null,"start_time_ms":null,"catchup":"latest","failover":"rerun","timeout_ms":null,"env":{},"params":{},"tasks":[{"id":"one","name":"one","description":null,"depends":[],"config":{"type":"Subprocess","cmd":"sh","args":["-c","echo ''it''''s one''"],"working_directory":null},"retry":{"max_attempts":1,"delay_ms":0,"backoff":1},"timeout_ms":null,"env":{}},{"id":"two","name":"two","description":null,"depends":["one"],"config":{"type":"Subprocess","cmd":"sh","args":["-c","echo two"],"working_directory":null},"retry":{"max_attempts":1,"delay_ms":0,"backoff":1},"timeout_ms":null,"env":{}}]}');
INSERT INTO definitions VALUES ('778b0a64d10a58ce4b93787592666576a850bf0c6c999e40aa79c78888ed1a2b', '{"id":"gated","name":"test","description":null,"cron":null,"timezone":null,"start_time_ms":null,"catchup":"latest","failover":"rerun","timeout_ms":null,"env":{},"params":{},"tasks":[{"id":"wait","name":"wait","description":null,"depends":[],"config":{"type":"Subprocess","cmd":"sh","args":["-c","echo waiting; while [ ! -e ''/tmp/cdktr-test-yv5eRU/open'' ]; do sleep 0.05; done; echo passed; touch ''/tmp/cdktr-test-yv5eRU/open.seen''"],"working_directory":null},"retry":{"max_attempts":1,"delay_ms":0,"backoff":1},"timeout_ms":null,"env":{}}]}');
INSERT INTO definitions VALUES ('8f03a26f3d5ea00fcbb95db9229fb214e06427b0ae05856364ce14857413e0e2', '{"id":"slow","name":"test","description":null,"cron":null,"timezone":null,"start_time_ms":null,"catchup":"latest","failover":"rerun","timeout_ms":null,"env":{},"params":{},"tasks":[{"id":"wait","name":"wait","description":null,"depends":[],"config":{"type":"Subprocess","cmd":"sh","args":["-c","sleep 600"],"working_directory":null},"retry":{"max_attempts":1,"delay_ms":0,"backoff":1},"timeout_ms":null,"env":{}}]}');
INSERT INTO definitions VALUES ('94f2f7e9f85d9b1aa1494f3bd67c50172a7d62fbea5ee9a5c3e28e816f076ee0', '{"id":"bad","name":"test","description":null,"cron":null,"timezone":null,"start_time_ms":null,"catchup":"latest","failover":"rerun","timeout_ms":null,"env":{},"params":{},"tasks":[{"id":"only","name":"only","description":null,"depends":[],"config":{"type":"Subprocess","cmd":"sh","args":["-c","echo bad >&2; exit 3"],"working_directory":null},"retry":{"max_attempts":1,"delay_ms":0,"backoff":1},"timeout_ms":null,"env":{}}]}');
INSERT INTO attempts VALUES ('69b45be9-8574-4e8e-8b17-5bf736dbc29f', 1, 'worker-agent-1', 'd77be2b1-d7ad-4b85-bcdc-0ed5f1c33aba', 'de15f929-5639-400a-afad-fe5972bf55b0', 1795314310358, 'RELEASED', 'COMPLETED', 1795314310382, 1795314310402, NULL);
INSERT INTO attempts VALUES ('6a0adbab-e2a2-4b16-82ea-45f4c2b5682e', 1, 'worker-agent-1', 'd77be2b1-d7ad-4b85-bcdc-0ed5f1c33aba', '7ee32914-b82b-49c2-8549-4be308843bf3', 1795314310527, 'RELEASED', 'FAILED', 1795314310536, 1795314310560, 'failed: only');
INSERT INTO attempts VALUES ('c95e1759-52a1-4862-bb3d-d6af091a3cc4', 1, 'worker-agent-1', 'd77be2b1-d7ad-4b85-bcdc-0ed5f1c33aba', '205cede2-92d2-4175-9a0a-407c6f394f14', 1795314310765, 'HELD', 'RUNNING', 1795314310767, NULL, NULL);
INSERT INTO attempts VALUES ('f5f5fc85-5c7a-470d-b3d2-a26725cab8a9', 1, 'worker-agent-1', 'd77be2b1-d7ad-4b85-bcdc-0ed5f1c33aba', '889026d8-3c4f-498a-8183-67756fcf3f90', 1795314310670, 'HELD', 'RUNNING', 1795314310683, NULL, NULL);
INSERT INTO task_runs VALUES (1, '69b45be9-8574-4e8e-8b17-5bf736dbc29f', '74e71d52-3a98-4399-afb0-d7d6e156e473', 'one', 'one', 1, 1, 'COMPLETED', 0, NULL, NULL, 1.247, 248, 1795314310394, 1795314310399, 1795314310399);
INSERT INTO task_runs VALUES (2, '69b45be9-8574-4e8e-8b17-5bf736dbc29f', '71624f57-9ac7-418f-88cb-b395d2f9d106', 'two', 'two', 1, 1, 'COMPLETED', 0, NULL, NULL, 1.043, 4, 1795314310399, 1795314310401, 1795314310401);
INSERT INTO task_runs VALUES (3, '6a0adbab-e2a2-4b16-82ea-45f4c2b5682e', '1e18d18e-52aa-4772-93bb-fb0be82966bb', 'only', 'only', 1, 1, 'FAILED', 3, NULL, 'exit status 3', 1.273, NULL, 1795314310540, 1795314310560, 1795314310560);
INSERT INTO task_runs VALUES (4, 'f5f5fc85-5c7a-470d-b3d2-a26725cab8a9', 'e419de13-258c-4347-aa75-3c1693ecc048', 'wait', 'wait', 1, 1, 'RUNNING', NULL, NULL, NULL, NULL, NULL, 1795314310700, NULL, 1795314310700);
INSERT INTO task_runs VALUES (5, 'c95e1759-52a1-4862-bb3d-d6af091a3cc4', 'e8511267-a7f0-4624-b6b3-2237d3d043a6', 'wait', 'wait', 1, 1, 'RUNNING', NULL, NULL, NULL, NULL, NULL, 1795314310774, NULL, 1795314310774);
INSERT INTO agents VALUES ('worker-agent-1', 'd77be2b1-d7ad-4b85-bcdc-0ed5f1c33aba', 'a0c7f983-8eda-4696-81be-4ad803878e11', 'worker', 18230, '0.1.0', 2, '{}', 'UP', 1795314310256, 1795314310256);
INSERT INTO agent_streams VALUES ('a0c7f983-8eda-4696-81be-4ad803878e11', 'worker-agent-1', 14, 1795314310777);
INSERT INTO dedupe_keys VALUES ('RUNTASK bad cli-f08472f7-dfdb-4b49-9efc-7904d38de22f', '6a0adbab-e2a2-4b16-82ea-45f4c2b5682e', 1795314310526);
INSERT INTO dedupe_keys VALUES ('RUNTASK gated cli-a1068ceb-a306-4237-beca-b2f71c08857d', 'f5f5fc85-5c7a-470d-b3d2-a26725cab8a9', 1795314310670);
INSERT INTO dedupe_keys VALUES ('RUNTASK good cli-71d9fd1c-bebf-41b6-84c7-ed3dfeb88a99', '69b45be9-8574-4e8e-8b17-5bf736dbc29f', 1795314310358);
INSERT INTO dedupe_keys VALUES ('RUNTASK good cli-919b002e-0eec-4da4-bea8-166e589e076e', 'c2611724-5f16-4461-96a5-378e0b27cf49', 1795314310850);
INSERT INTO dedupe_keys VALUES ('RUNTASK slow cli-37eaba08-555b-4ada-9763-96209aa36fc2', 'c95e1759-52a1-4862-bb3d-d6af091a3cc4', 1795314310765);
INSERT INTO schedule_cursors VALUES ('yearly', '["0 0 0 1 1 *",null,null]', 1795314310222);
INSERT INTO workflow_versions VALUES ('bad', 'bad.yml', '{"id":"bad","name":"test","description":null,"cron":null,"timezone":null,"start_time_ms":null,"catchup":"latest","failover":"rerun","timeout_ms":null,"env":{},"params":{},"tasks":[{"id":"only","name":"only","description":null,"depends":[],"config":{"type":"Subprocess","cmd":"sh","args":["-c","echo bad >&2; exit 3"],"working_directory":null},"retry":{"max_attempts":1,"delay_ms":0,"backoff":1},"timeout_ms":null,"env":{}}]}', 'name: test
tasks:
  only:
    name: only
    depends: []
    config: !Subprocess
      cmd: sh
      args: ["-c", "echo bad >&2; exit 3"]
');
INSERT INTO workflow_versions VALUES ('gated', 'gated.yml', '{"id":"gated","name":"test","description":null,"cron":null,"timezone":null,"start_time_ms":null,"catchup":"latest","failover":"rerun","timeout_ms":null,"env":{},"params":{},"tasks":[{"id":"wait","name":"wait","description":null,"depends":[],"config":{"type":"Subprocess","cmd":"sh","args":["-c","echo waiting; while [ ! -e ''/tmp/cdktr-test-yv5eRU/open'' ]; do sleep 0.05; done; echo passed; touch ''/tmp/cdktr-test-yv5eRU/open.seen''"],"working_directory":null},"retry":{"max_attempts":1,"delay_ms":0,"backoff":1},"timeout_ms":null,"env":{}}]}', 'name: test
tasks:
  wait:
    name: wait
    depends: []
    config: !Subprocess
      cmd: sh
      args: ["-c", "echo waiting; while [ ! -e ''/tmp/cdktr-test-yv5eRU/open'' ]; do sleep 0.05; done; echo passed; touch ''/tmp/cdktr-test-yv5eRU/open.seen''"]
');
INSERT INTO workflow_versions VALUES ('good', 'good.yml', '{"id":"good","name":"test","description":null,"cron":null,"timezone":null,"start_time_ms":null,"catchup":"latest","failover":"rerun","timeout_ms":null,"env":{},"params":{},"tasks":[{"id":"one","name":"one","description":null,"depends":[],"config":{"type":"Subprocess","cmd":"sh","args":["-c","echo ''it''''s one''"],"working_directory":null},"retry":{"max_attempts":1,"delay_ms":0,"backoff":1},"timeout_ms":null,"env":{}},{"id":"two","name":"two","description":null,"depends":["one"],"config":{"type":"Subprocess","cmd":"sh","args":["-c","echo two"],"working_directory":null},"retry":{"max_attempts":1,"delay_ms":0,"backoff":1},"timeout_ms":null,"env":{}}]}', 'name: test
tasks:
  one:
    name: one
    depends: []
    config: !Subprocess
      cmd: sh
      args: ["-c", "echo ''it''''s one''"]
  two:
    name: two
    depends: ["one"]
    config: !Subprocess
      cmd: sh
      args: ["-c", "echo two"]
');
INSERT INTO workflow_versions VALUES ('slow', 'slow.yml', '{"id":"slow","name":"test","description":null,"cron":null,"timezone":null,"start_time_ms":null,"catchup":"latest","failover":"rerun","timeout_ms":null,"env":{},"params":{},"tasks":[{"id":"wait","name":"wait","description":null,"depends":[],"config":{"type":"Subprocess","cmd":"sh","args":["-c","sleep 600"],"working_directory":null},"retry":{"max_attempts":1,"delay_ms":0,"backoff":1},"timeout_ms":null,"env":{}}]}', 'name: test
tasks:
  wait:
    name: wait
    depends: []
    config: !Subprocess
      cmd: sh
      args: ["-c", "sleep 600"]
');
INSERT INTO workflow_versions VALUES ('yearly', 'yearly.yml', '{"id":"yearly","name":"test","description":null,"cron":"0 0 0 1 1 *","timezone":null,"start_time_ms":null,"catchup":"latest","failover":"rerun","timeout_ms":null,"env":{},"params":{},"tasks":[{"id":"one","name":"one","description":null,"depends":[],"config":{"type":"Subprocess","cmd":"sh","args":["-c","true"],"working_directory":null},"retry":{"max_attempts":1,"delay_ms":0,"backoff":1},"timeout_ms":null,"env":{}}]}', 'name: test
cron: "0 0 0 1 1 *"
tasks:
  one:
    name: one
    depends: []
    config: !Subprocess
      cmd: sh
      args: ["-c", "true"]
');
INSERT INTO recent_statuses VALUES ('bad', '6a0adbab-e2a2-4b16-82ea-45f4c2b5682e', 'FAILED', 1795314310560, 1795314309565012);
INSERT INTO recent_statuses VALUES ('gated', 'f5f5fc85-5c7a-470d-b3d2-a26725cab8a9', 'RUNNING', 1795314310683, 1795314309565014);
INSERT INTO recent_statuses VALUES ('good', 'c2611724-5f16-4461-96a5-378e0b27cf49', 'PENDING', 1795314310849, 1795314309565019);
INSERT INTO recent_statuses VALUES ('slow', 'c95e1759-52a1-4862-bb3d-d6af091a3cc4', 'RUNNING', 1795314310767, 1795314309565017);
