/** The schema of the operational state in SQLite, and its migrations. */
import type { SqliteMigrations } from "../../../migrations/sqlite-migrations.ts";

/** The migrations of `state.db`, from its first version on. */
export const STATE_MIGRATIONS: SqliteMigrations = [
  {
    what: "runs, attempts, agents, schedules and the outbox of statuses",
    apply(database) {
      database.run(`
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
      CREATE INDEX runs_queue ON runs (seq) WHERE queued = 1;
      CREATE INDEX runs_open ON runs (status, seq) WHERE finished_at_ms IS NULL;
      CREATE INDEX runs_over ON runs (seq) WHERE finished_at_ms IS NOT NULL;
      CREATE INDEX runs_by_workflow ON runs (workflow_id, seq);
      CREATE INDEX runs_by_status ON runs (status, seq);
      CREATE INDEX runs_by_definition ON runs (definition_hash);

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
      CREATE INDEX attempts_open ON attempts (agent_id) WHERE lease IN ('OFFERED', 'HELD');

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
      CREATE INDEX dedupe_keys_by_age ON dedupe_keys (created_at_ms);

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
      CREATE INDEX recent_statuses_by_position ON recent_statuses (position);

      CREATE TABLE status_outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        target TEXT NOT NULL,
        row TEXT NOT NULL
      ) STRICT;
    `);
      // The history remembers the last id it has received. A new data directory must not start below it.
      database.run("INSERT INTO sqlite_sequence (name, seq) VALUES ('status_outbox', ?)", [
        Date.now() * 1000,
      ]);
    },
  },
  {
    what: "which key registered an agent",
    isAdditive: true,
    apply(database) {
      database.run(`
      CREATE TABLE agent_keys (
        agent_id TEXT PRIMARY KEY,
        public_key TEXT NOT NULL,
        bound_at_ms INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
    `);
    },
  },
  {
    what: "which protocols an agent speaks",
    isAdditive: true,
    apply(database) {
      database.run("ALTER TABLE agents ADD COLUMN protocol INTEGER NOT NULL DEFAULT 1");
      database.run("ALTER TABLE agents ADD COLUMN oldest_protocol INTEGER NOT NULL DEFAULT 1");
    },
  },
  {
    what: "runs that follow others",
    isAdditive: true,
    apply(database) {
      database.run(`
      CREATE TABLE follow_ups (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        workflow_id TEXT NOT NULL,
        after_workflow_id TEXT NOT NULL,
        after_workflow_instance_id TEXT NOT NULL,
        after_status TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL
      ) STRICT;
      CREATE INDEX follow_ups_by_age ON follow_ups (created_at_ms);

      CREATE TABLE follow_up_feed (id TEXT NOT NULL) STRICT;
      INSERT INTO follow_up_feed VALUES (lower(hex(randomblob(8))));
    `);
    },
  },
  {
    what: "deadlines of offers and agents",
    isAdditive: true,
    apply(database) {
      database.run("ALTER TABLE attempts ADD COLUMN deadline_ms INTEGER");
      database.run("ALTER TABLE agents ADD COLUMN deadline_ms INTEGER");
      database.run("CREATE INDEX attempts_offered ON attempts (deadline_ms) WHERE lease = 'OFFERED'");
    },
  },
  {
    what: "identity of the installation and the state",
    isAdditive: true,
    apply(database) {
      const isUsed =
        database.query("SELECT 1 FROM runs UNION ALL SELECT 1 FROM status_outbox LIMIT 1").get() !== null;
      database.run(
        "CREATE TABLE identity (installation_id TEXT NOT NULL, state_id TEXT NOT NULL, taken_id INTEGER) STRICT",
      );
      database.run("INSERT INTO identity VALUES (?, ?, ?)", [
        crypto.randomUUID(),
        crypto.randomUUID(),
        isUsed ? null : 0,
      ]);
    },
  },
  {
    what: "length of chains of runs",
    isAdditive: true,
    apply(database) {
      database.run("ALTER TABLE runs ADD COLUMN trigger_depth INTEGER NOT NULL DEFAULT 0");
      database.run("ALTER TABLE follow_ups ADD COLUMN trigger_depth INTEGER NOT NULL DEFAULT 1");
    },
  },
  {
    what: "an index of the firings that wait for an agent",
    isAdditive: true,
    apply(database) {
      database.run(
        "CREATE INDEX runs_waiting_firings ON runs (workflow_id, seq) WHERE queued = 1 AND trigger = 'cron'",
      );
    },
  },
  {
    what: "clock errors of agents",
    isAdditive: true,
    apply(database) {
      database.run("ALTER TABLE attempts ADD COLUMN clock_offset_ms INTEGER NOT NULL DEFAULT 0");
    },
  },
  {
    // Leases on slices are in a table of their own: an older cdktr does not see them, and so cannot take one for a lease on the whole run.
    what: "runs that several agents share",
    isAdditive: true,
    apply(database) {
      database.run(`
      ALTER TABLE runs ADD COLUMN needs TEXT NOT NULL DEFAULT '';
      ALTER TABLE runs ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE runs ADD COLUMN agents INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE runs ADD COLUMN timed_out_at_ms INTEGER;
      ALTER TABLE runs ADD COLUMN deadline_ms INTEGER;
      CREATE INDEX runs_queue_by_needs ON runs (needs, seq) WHERE queued = 1;
      CREATE INDEX runs_by_deadline ON runs (deadline_ms) WHERE deadline_ms IS NOT NULL;
      CREATE INDEX runs_untaken_firings ON runs (workflow_id, seq) WHERE status = 'PENDING' AND trigger = 'cron' AND revision > 0;

      CREATE TABLE slices (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        workflow_instance_id TEXT NOT NULL,
        slice INTEGER NOT NULL,
        tasks TEXT NOT NULL,
        needs TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        crashed_attempts INTEGER NOT NULL,
        state TEXT NOT NULL,
        position INTEGER NOT NULL,
        queued_at_ms INTEGER NOT NULL,
        UNIQUE (workflow_instance_id, slice)
      ) STRICT;
      CREATE INDEX slices_queue ON slices (needs, position, seq) WHERE state = 'QUEUED';
      CREATE INDEX slices_open ON slices (workflow_instance_id, slice) WHERE state <> 'OVER';

      CREATE TABLE slice_attempts (
        workflow_instance_id TEXT NOT NULL,
        slice INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        agent_id TEXT NOT NULL,
        session_id TEXT,
        fetch_id TEXT,
        assigned_at_ms INTEGER NOT NULL,
        deadline_ms INTEGER,
        clock_offset_ms INTEGER NOT NULL,
        lease TEXT NOT NULL,
        status TEXT NOT NULL,
        started_at_ms INTEGER,
        finished_at_ms INTEGER,
        error TEXT,
        log_stream_id TEXT,
        log_seq INTEGER NOT NULL,
        PRIMARY KEY (workflow_instance_id, slice, attempt)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX slice_attempts_open ON slice_attempts (agent_id) WHERE lease IN ('OFFERED', 'HELD');
      CREATE INDEX slice_attempts_offered ON slice_attempts (deadline_ms) WHERE lease = 'OFFERED';
      CREATE INDEX slice_attempts_by_agent ON slice_attempts (workflow_instance_id, agent_id);

      ALTER TABLE task_runs ADD COLUMN slice INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE task_runs ADD COLUMN outputs TEXT;
      CREATE INDEX task_runs_by_slice ON task_runs (workflow_instance_id, slice) WHERE slice > 0;
      CREATE INDEX task_runs_with_outputs ON task_runs (workflow_instance_id, task_id) WHERE outputs IS NOT NULL;
    `);
    },
  },
  {
    what: "the boot of the host in which the state was opened",
    isAdditive: true,
    apply: (database) => void database.run("ALTER TABLE identity ADD COLUMN boot_id TEXT"),
  },
  {
    what: "why runs wait",
    isAdditive: true,
    apply(database) {
      database.run(`
      CREATE TABLE wait_reasons (
        workflow_instance_id TEXT PRIMARY KEY,
        status TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        reason TEXT NOT NULL
      ) STRICT, WITHOUT ROWID;
    `);
    },
  },
  {
    what: "durations by monotonic clocks",
    isAdditive: true,
    apply(database) {
      database.run(`
      ALTER TABLE runs ADD COLUMN duration_ms INTEGER;
      ALTER TABLE task_runs ADD COLUMN duration_ms INTEGER;
    `);
    },
  },
  {
    what: "outputs that are only in the history",
    isAdditive: true,
    apply(database) {
      // outputs_row: the row for the history that has them. Null for those of an older cdktr.
      database.run(`
      ALTER TABLE task_runs ADD COLUMN outputs_row INTEGER;
      ALTER TABLE task_runs ADD COLUMN outputs_moved INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE task_runs ADD COLUMN outputs_bytes INTEGER GENERATED ALWAYS AS (octet_length(outputs)) VIRTUAL;
      CREATE INDEX task_runs_outputs ON task_runs (workflow_instance_id, task_id, outputs_bytes) WHERE outputs_bytes > 0;
      DROP INDEX task_runs_with_outputs;
    `);
    },
  },
  {
    what: "which slices wait for what",
    isAdditive: true,
    apply: (database) => void database.run("ALTER TABLE wait_reasons ADD COLUMN waits TEXT"),
  },
  {
    what: "the clock of deadlines",
    isAdditive: true,
    apply: (database) => void database.run("ALTER TABLE identity ADD COLUMN clock_offset_ms INTEGER"),
  },
  {
    // With a rowid, because most rows are too long for a page of the other kind of table.
    // A row of workflow_versions is what an older cdktr wrote. It stays as long as it is the same version as the row here; when an older
    // cdktr writes another one, the row here is no longer the newest.
    what: "compressed versions of workflows, with the files they were read from",
    isAdditive: true,
    apply(database) {
      database.run(`
      CREATE TABLE workflow_files (
        workflow_id TEXT PRIMARY KEY,
        path TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        facts TEXT NOT NULL,
        texts BLOB NOT NULL
      ) STRICT;
      CREATE TRIGGER workflow_versions_written AFTER INSERT ON workflow_versions BEGIN
        DELETE FROM workflow_files WHERE workflow_id = NEW.workflow_id;
      END;
      CREATE TRIGGER workflow_versions_removed AFTER DELETE ON workflow_versions BEGIN
        DELETE FROM workflow_files WHERE workflow_id = OLD.workflow_id;
      END;
    `);
    },
  },
  {
    // An older cdktr opens the file and leaves what it does not know as it is: what waits, and slices that are asleep, until a newer one
    // is back. It never hands out tasks of the newer language, whose needs it cannot meet.
    what: "the second version of the workflow language",
    isAdditive: true,
    apply(database) {
      database.run(`
      ALTER TABLE runs ADD COLUMN event TEXT;
      ALTER TABLE runs ADD COLUMN resting INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE runs ADD COLUMN outputs TEXT;
      ALTER TABLE runs ADD COLUMN allowed_failures INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE runs ADD COLUMN parent_run TEXT;
      ALTER TABLE runs ADD COLUMN parent_task TEXT;
      ALTER TABLE runs ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE runs ADD COLUMN start_at_ms INTEGER;
      ALTER TABLE runs ADD COLUMN bundle TEXT;
      ALTER TABLE runs ADD COLUMN hooks_stopped INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE runs ADD COLUMN actor TEXT;
      CREATE INDEX runs_by_parent ON runs (parent_run) WHERE parent_run IS NOT NULL;

      ALTER TABLE task_runs ADD COLUMN item_key TEXT;
      ALTER TABLE task_runs ADD COLUMN item_index INTEGER;
      ALTER TABLE task_runs ADD COLUMN allowed INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE task_runs ADD COLUMN items_total INTEGER;
      ALTER TABLE task_runs ADD COLUMN due_ms INTEGER;
      ALTER TABLE task_runs ADD COLUMN artifacts TEXT;
      CREATE INDEX task_runs_items ON task_runs (workflow_instance_id, task_id, item_index) WHERE item_key IS NOT NULL;

      ALTER TABLE slices ADD COLUMN is_hook INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE slices ADD COLUMN due_ms INTEGER;

      CREATE TABLE fan_outs (
        workflow_instance_id TEXT NOT NULL,
        task_id TEXT NOT NULL,
        items TEXT NOT NULL,
        is_cut INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (workflow_instance_id, task_id)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE waits (
        workflow_instance_id TEXT NOT NULL,
        task TEXT NOT NULL,
        task_instance_id TEXT,
        kind TEXT NOT NULL,
        due_ms INTEGER,
        data TEXT NOT NULL,
        since_ms INTEGER NOT NULL,
        answered_by TEXT,
        note TEXT,
        answered_at_ms INTEGER,
        PRIMARY KEY (workflow_instance_id, task)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX waits_due ON waits (due_ms) WHERE due_ms IS NOT NULL;
      CREATE INDEX waits_by_kind ON waits (kind, since_ms);

      CREATE TABLE secrets (
        name TEXT PRIMARY KEY,
        sealed BLOB NOT NULL,
        actor TEXT,
        changed_at_ms INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE blobs (
        hash TEXT PRIMARY KEY,
        bytes INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        is_whole INTEGER NOT NULL DEFAULT 0
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE blob_refs (
        workflow_instance_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        task TEXT NOT NULL,
        path TEXT NOT NULL,
        hash TEXT NOT NULL,
        PRIMARY KEY (workflow_instance_id, kind, task, path)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX blob_refs_by_hash ON blob_refs (hash);
    `);
    },
  },
  {
    // Those of a run that is forgotten, too: what tasks have left is deleted only when an operator says so.
    what: "what tasks leave as files",
    isAdditive: true,
    apply(database) {
      database.run(`
      CREATE TABLE artifacts (
        seq INTEGER PRIMARY KEY,
        workflow_instance_id TEXT NOT NULL,
        task_id TEXT NOT NULL,
        item_key TEXT,
        item_index INTEGER,
        task_instance_id TEXT NOT NULL,
        hash TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        files TEXT NOT NULL,
        UNIQUE (workflow_instance_id, task_instance_id)
      ) STRICT;
      CREATE INDEX artifacts_by_hash ON artifacts (hash);
    `);
    },
  },
  {
    what: "retries from the beginning",
    isAdditive: true,
    apply: (database) =>
      void database.run("ALTER TABLE runs ADD COLUMN from_start INTEGER NOT NULL DEFAULT 0"),
  },
  {
    // What is not used is NULL, so that a run without limits is in none of the indexes. Nothing counts who has a slot of a group or a pool: that
    // is read from the rows of runs and leases, also from those that an older cdktr ended.
    what: "pauses, concurrency groups, pools, priorities, backfills and schedules with several entries",
    isAdditive: true,
    apply(database) {
      database.run(`
      ALTER TABLE runs ADD COLUMN hold TEXT;
      ALTER TABLE runs ADD COLUMN group_key TEXT;
      ALTER TABLE runs ADD COLUMN group_max INTEGER;
      ALTER TABLE runs ADD COLUMN on_conflict TEXT;
      ALTER TABLE runs ADD COLUMN admitted INTEGER;
      ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 5;
      ALTER TABLE runs ADD COLUMN rank_ms INTEGER;
      ALTER TABLE runs ADD COLUMN schedule TEXT;
      ALTER TABLE runs ADD COLUMN backfill_id TEXT;
      ALTER TABLE runs ADD COLUMN cancel_reason TEXT;
      CREATE INDEX runs_in_group ON runs (group_key, seq) WHERE admitted = 1 AND finished_at_ms IS NULL;
      CREATE INDEX runs_held ON runs (group_key, (coalesce(rank_ms, created_at_ms) - priority * 600000), seq)
        WHERE hold = 'group' AND finished_at_ms IS NULL;
      CREATE INDEX runs_paused ON runs (workflow_id, seq) WHERE hold = 'pause' AND finished_at_ms IS NULL;
      CREATE INDEX runs_held_firings ON runs (workflow_id, seq)
        WHERE hold IS NOT NULL AND trigger = 'cron' AND finished_at_ms IS NULL;
      CREATE INDEX runs_of_backfill ON runs (backfill_id, seq) WHERE backfill_id IS NOT NULL AND finished_at_ms IS NULL;

      ALTER TABLE slices ADD COLUMN pools TEXT;
      ALTER TABLE slices ADD COLUMN rank_ms INTEGER;
      CREATE INDEX slices_pooled ON slices (workflow_instance_id, slice) WHERE pools IS NOT NULL AND state = 'LEASED';

      CREATE TABLE schedule_positions (
        workflow_id TEXT NOT NULL,
        entry TEXT NOT NULL,
        cursor_ms INTEGER NOT NULL,
        PRIMARY KEY (workflow_id, entry)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE workflow_states (
        workflow_id TEXT PRIMARY KEY,
        paused_at_ms INTEGER,
        paused_by TEXT,
        reason TEXT,
        is_auto INTEGER NOT NULL DEFAULT 0,
        until_ms INTEGER,
        failures INTEGER NOT NULL DEFAULT 0,
        changed_at_ms INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE missed_events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        workflow_id TEXT NOT NULL,
        workflow_instance_id TEXT NOT NULL,
        trigger TEXT NOT NULL,
        options TEXT NOT NULL,
        at_ms INTEGER NOT NULL
      ) STRICT;
      CREATE INDEX missed_events_by_workflow ON missed_events (workflow_id, seq);

      CREATE TABLE settings (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        file TEXT,
        own TEXT,
        changed_by TEXT,
        changed_at_ms INTEGER NOT NULL,
        PRIMARY KEY (kind, name)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE backfills (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        backfill_id TEXT NOT NULL UNIQUE,
        workflow_id TEXT NOT NULL,
        definition_hash TEXT NOT NULL,
        entries TEXT NOT NULL,
        calendars TEXT,
        from_ms INTEGER NOT NULL,
        to_ms INTEGER NOT NULL,
        is_reverse INTEGER NOT NULL DEFAULT 0,
        reprocess TEXT NOT NULL,
        max_active INTEGER NOT NULL,
        priority INTEGER,
        params TEXT NOT NULL,
        actor TEXT,
        state TEXT NOT NULL,
        cursor_ms INTEGER,
        cursor_entry TEXT,
        total INTEGER NOT NULL,
        note TEXT,
        created_at_ms INTEGER NOT NULL,
        finished_at_ms INTEGER
      ) STRICT;
      CREATE INDEX backfills_open ON backfills (seq) WHERE finished_at_ms IS NULL;

      CREATE TABLE backfill_firings (
        backfill_id TEXT NOT NULL,
        scheduled_time_ms INTEGER NOT NULL,
        entry TEXT NOT NULL,
        workflow_instance_id TEXT,
        outcome TEXT,
        PRIMARY KEY (backfill_id, scheduled_time_ms, entry)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX backfill_firings_by_outcome ON backfill_firings (backfill_id, outcome);
    `);
    },
  },
  {
    what: "runs that others have started and that wait for a concurrency group",
    isAdditive: true,
    apply: (database) =>
      void database.run(
        "CREATE INDEX runs_held_children ON runs (group_key) WHERE hold = 'group' AND finished_at_ms IS NULL AND parent_run IS NOT NULL",
      ),
  },
  {
    // A workflow that nobody expects or is told anything about is in none of these tables.
    what: "alerts, their deliveries, expectations and queries",
    isAdditive: true,
    apply(database) {
      database.run(`
      CREATE TABLE alerts (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        alert_id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        workflow_id TEXT,
        workflow_instance_id TEXT,
        subject TEXT NOT NULL,
        facts TEXT NOT NULL,
        raised_at_ms INTEGER NOT NULL,
        resolved_at_ms INTEGER
      ) STRICT;
      CREATE UNIQUE INDEX alerts_open ON alerts (key) WHERE resolved_at_ms IS NULL;
      CREATE INDEX alerts_of_run ON alerts (workflow_instance_id)
        WHERE resolved_at_ms IS NULL AND workflow_instance_id IS NOT NULL;
      CREATE INDEX alerts_of_workflow ON alerts (workflow_id, kind) WHERE resolved_at_ms IS NULL;

      CREATE TABLE deliveries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        alert_id TEXT NOT NULL,
        channel TEXT NOT NULL,
        about TEXT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        due_ms INTEGER,
        message_id TEXT,
        error TEXT,
        created_at_ms INTEGER NOT NULL,
        changed_at_ms INTEGER NOT NULL,
        UNIQUE (alert_id, channel, about)
      ) STRICT;
      CREATE INDEX deliveries_due ON deliveries (channel, due_ms) WHERE state IN ('PENDING', 'SENDING');
      CREATE INDEX deliveries_dead ON deliveries (seq) WHERE state = 'DEAD';

      CREATE TABLE notify_states (
        workflow_id TEXT PRIMARY KEY,
        failures INTEGER NOT NULL,
        is_raised INTEGER NOT NULL,
        changed_at_ms INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE expectations (
        workflow_id TEXT NOT NULL,
        rule TEXT NOT NULL,
        key TEXT NOT NULL,
        due_ms INTEGER NOT NULL,
        state TEXT NOT NULL,
        data TEXT,
        PRIMARY KEY (workflow_id, rule, key)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX expectations_due ON expectations (due_ms) WHERE state = 'OPEN';

      CREATE TABLE query_alerts (
        file TEXT PRIMARY KEY,
        evaluated_at_ms INTEGER,
        next_ms INTEGER,
        error TEXT,
        rows INTEGER
      ) STRICT, WITHOUT ROWID;
    `);
    },
  },
  {
    what: "the traces that triggers of runs are part of",
    isAdditive: true,
    apply(database) {
      database.run("ALTER TABLE runs ADD COLUMN traceparent TEXT");
    },
  },
  {
    what: "runs that a pause holds in the order in which they go on",
    isAdditive: true,
    apply: (database) =>
      void database.run(`
      DROP INDEX runs_paused;
      CREATE INDEX runs_paused ON runs (workflow_id, (coalesce(rank_ms, created_at_ms) - priority * 600000), seq)
        WHERE hold = 'pause' AND finished_at_ms IS NULL;
    `),
  },
  {
    what: "the rows that queries of alert files have found",
    isAdditive: true,
    apply(database) {
      database.run(`
      ALTER TABLE query_alerts ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
      CREATE TABLE query_rows (
        file TEXT NOT NULL,
        key TEXT NOT NULL,
        since_ms INTEGER NOT NULL,
        is_raised INTEGER NOT NULL,
        PRIMARY KEY (file, key)
      ) STRICT, WITHOUT ROWID;
    `);
    },
  },
  {
    // The alerts page of a TUI asks for it all the time; there may be tens of thousands of deliveries.
    what: "the last attempts of each channel",
    isAdditive: true,
    apply: (database) =>
      void database.run(
        "CREATE INDEX deliveries_of_channel ON deliveries (channel, changed_at_ms, seq) WHERE attempts > 0",
      ),
  },
];
